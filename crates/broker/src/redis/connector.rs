//! Makes every connection to Redis: address, TLS, credentials, protocol, name and timeouts are decided here.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisError,
    TlsCertificates, Value,
};
use deadpool_redis::Manager;

use super::settings::RedisSettings;
use super::{error, reply};
use crate::{BrokerError, Condition};

/// What a connection is for. Its name in `CLIENT LIST` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Commands that write, and probes.
    Commands,
    /// Log reads.
    Reads,
    /// Blocking reads and rare commands. Replies are waited for without a limit, since that depends on the command.
    Blocking,
    /// Live topics.
    Subscriber,
}

impl Purpose {
    fn client_name(self) -> &'static str {
        match self {
            Self::Commands => "fanfare-commands",
            Self::Reads => "fanfare-reads",
            Self::Blocking => "fanfare-blocking",
            Self::Subscriber => "fanfare-subscriber",
        }
    }
}

/// Makes connections to one primary. Clones share it.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    /// Credentials, protocol, TLS and TCP options; and the address of `redis.url`.
    info: ConnectionInfo,
    connect_timeout: Duration,
    timeout: Duration,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the credentials.
        f.debug_tuple("Connector").field(&self.inner.info.addr().to_string()).finish()
    }
}

impl Connector {
    /// Prepares connections without making one. Reads the file of certificates.
    ///
    /// # Errors
    ///
    /// Fails if the URL is invalid, or if the certificates cannot be read.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, BrokerError> {
        let mut info = settings.info()?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            info = with_tls(info, settings.ca.as_deref())?;
        }
        let (connect_timeout, timeout) = (settings.connect_timeout, settings.timeout);
        Ok(Self { inner: Arc::new(Inner { info, connect_timeout, timeout }) })
    }

    /// Connects. The connection's first commands are those of `preload`, whatever Redis replies to them (it may be
    /// loading its dataset). Messages, and the end of the connection, go to `pushes`.
    ///
    /// # Errors
    ///
    /// Fails if Redis cannot be reached in time, refuses the credentials, or is a cluster. Always an error that passes.
    pub(super) async fn connect_with_pushes(
        &self,
        purpose: Purpose,
        preload: &[Cmd],
        pushes: impl AsyncPushSender,
    ) -> Result<MultiplexedConnection, BrokerError> {
        self.open(purpose, preload, self.config(purpose).set_push_sender(pushes)).await
    }

    /// Returns the address to connect to. It is asked for at each attempt, since the primary may be another one by
    /// then; a host name is resolved at each attempt, too.
    pub(super) fn address(&self) -> ConnectionAddr {
        self.inner.info.addr().clone()
    }

    /// Returns the manager of a pool of connections to the current address. The pool must
    /// [introduce](Self::introduce) each connection.
    ///
    /// # Errors
    ///
    /// Fails if the client library refuses the settings.
    pub(super) fn manager(&self, purpose: Purpose) -> Result<Manager, BrokerError> {
        let info = self.inner.info.clone().set_addr(self.address());
        Manager::new_with_config(info, self.config(purpose)).map_err(|error| error::sort(&error))
    }

    fn config(&self, purpose: Purpose) -> AsyncConnectionConfig {
        let Inner { connect_timeout, timeout, .. } = *self.inner;
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout((purpose != Purpose::Blocking).then_some(timeout))
            .set_pipeline_buffer_size(1024)
    }

    async fn open(
        &self,
        purpose: Purpose,
        preload: &[Cmd],
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, BrokerError> {
        let unreachable = |error: RedisError| error::sort_connecting(&error);
        let info = self.inner.info.clone().set_addr(self.address());
        let client = Client::open(info).map_err(unreachable)?;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(unreachable)?;
        self.introduce(&mut connection, purpose, preload).await?;
        Ok(connection)
    }

    /// Names a new connection, sends the commands of `preload`, and checks the mode of the server.
    ///
    /// # Errors
    ///
    /// Fails if there is no reply in time, or if the server is a cluster.
    pub(super) async fn introduce(
        &self,
        connection: &mut MultiplexedConnection,
        purpose: Purpose,
        preload: &[Cmd],
    ) -> Result<(), BrokerError> {
        let mut first = Pipeline::with_capacity(preload.len() + 2);
        // The library's own HELLO, which chooses RESP3, does not return the reply.
        first.cmd("HELLO");
        first.cmd("CLIENT").arg("SETNAME").arg(purpose.client_name());
        for command in preload {
            first.add_command(command.clone());
        }
        let sent = connection.send_packed_commands(&first, 0, first.len());
        let replies = match tokio::time::timeout(self.inner.timeout, sent).await {
            Ok(replies) => replies.map_err(|error| error::sort_connecting(&error))?,
            Err(_) => return Err(BrokerError::Unavailable("cannot connect: no reply to HELLO".into())),
        };
        if replies.into_iter().next().and_then(mode).as_deref() == Some("cluster") {
            // Most calls have keys of several slots.
            let detail = "HELLO: mode cluster".to_owned();
            return Err(BrokerError::Condition { condition: Condition::Cluster, detail });
        }
        Ok(())
    }
}

/// Adds the TLS parameters. `ca` is a file of certificates to trust in place of the system's.
fn with_tls(info: ConnectionInfo, ca: Option<&Path>) -> Result<ConnectionInfo, BrokerError> {
    // Required if several providers are built in. An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root_cert = ca.map(std::fs::read).transpose().map_err(|error| {
        let file = ca.unwrap_or(Path::new("")).display();
        BrokerError::Refused(format!("the file {file} cannot be read: {error}"))
    })?;
    // This error does not contain the URL.
    Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
        .map(|client| client.get_connection_info().clone())
        .map_err(|error| BrokerError::Refused(format!("failed to set up TLS to Redis: {error}")))
}

/// Returns what a server says of itself in its answer to `HELLO`: `standalone`, `sentinel` or `cluster`.
fn mode(hello: Value) -> Option<String> {
    let Value::Map(fields) = hello else { return None };
    let named = fields.into_iter().find(|(name, _)| reply::text(name.clone()).as_deref() == Some("mode"));
    reply::text(named?.1)
}
