//! Makes every connection to Redis: address, TLS, credentials, protocol, name and timeouts are decided here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisError, Value,
};
use deadpool_redis::Manager;
use prometheus_client::registry::Registry;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::metrics::{ConnectionMetrics, RedisMetrics};
use super::settings::RedisSettings;
use super::tls::TlsFiles;
use super::{error, reply};
use crate::{BrokerError, Condition};

/// The oldest version of Redis that a node can use: it has functions, and scripts with flags.
const OLDEST: u32 = 7;

/// Maximum time for which a new connection is read without sending a command, and maximum bytes read.
const GREETING: Duration = Duration::from_millis(500);
const GREETING_BYTES: u64 = 4096;

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
    /// All purposes.
    pub(super) const ALL: [Self; 4] = [Self::Commands, Self::Reads, Self::Blocking, Self::Subscriber];

    /// Returns the name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Reads => "reads",
            Self::Blocking => "blocking",
            Self::Subscriber => "subscriber",
        }
    }

    fn client_name(self) -> &'static str {
        match self {
            Self::Commands => "fanfare-commands",
            Self::Reads => "fanfare-reads",
            Self::Blocking => "fanfare-blocking",
            Self::Subscriber => "fanfare-subscriber",
        }
    }
}

/// What a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    address: ConnectionAddr,
    /// The mark of the certificates, for `rediss://`.
    certificates: Option<u64>,
}

/// Makes connections to one primary. Clones share it.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    /// Credentials, protocol and TCP options; and the address of `redis.url`.
    info: ConnectionInfo,
    /// The certificates, for `rediss://`.
    tls: Option<TlsFiles>,
    connect_timeout: Duration,
    timeout: Duration,
    metrics: RedisMetrics,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the credentials.
        f.debug_tuple("Connector").field(&self.inner.info.addr().to_string()).finish()
    }
}

impl Connector {
    /// Prepares connections without making one. Reads the files of certificates.
    ///
    /// # Errors
    ///
    /// Fails if the URL is invalid, or if the certificates cannot be read.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, BrokerError> {
        let info = settings.info()?;
        let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let tls = is_tls.then(|| TlsFiles::new(settings)).transpose()?;
        let (connect_timeout, timeout) = (settings.connect_timeout, settings.timeout);
        Ok(Self {
            inner: Arc::new(Inner { info, tls, connect_timeout, timeout, metrics: RedisMetrics::default() }),
        })
    }

    /// Connects. The connection's first commands are those of `preload`, whatever Redis replies to them (it may be
    /// loading its dataset). Messages, and the end of the connection, go to `pushes`.
    ///
    /// # Errors
    ///
    /// Fails if Redis cannot be reached in time, refuses the credentials, or is not one that a node can use. Always an error
    /// that passes.
    pub(super) async fn connect_with_pushes(
        &self,
        purpose: Purpose,
        preload: &[Cmd],
        pushes: impl AsyncPushSender,
    ) -> Result<MultiplexedConnection, BrokerError> {
        let connected = self.connect(purpose, preload, pushes).await;
        if connected.is_err() {
            self.metrics(purpose).failed.inc();
        }
        connected
    }

    async fn connect(
        &self,
        purpose: Purpose,
        preload: &[Cmd],
        pushes: impl AsyncPushSender,
    ) -> Result<MultiplexedConnection, BrokerError> {
        let config = self.config(purpose).set_push_sender(pushes);
        let client = Client::open(self.info().await?).map_err(|error| error::sort_connecting(&error))?;
        let mut connection = match client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => connection,
            Err(error) => return Err(self.failed(&error).await),
        };
        self.introduce(&mut connection, purpose, preload).await?;
        Ok(connection)
    }

    /// Returns the metrics of the connections for a purpose.
    pub(super) fn metrics(&self, purpose: Purpose) -> ConnectionMetrics {
        // The time of a blocking command depends on the command.
        let timed = matches!(purpose, Purpose::Commands | Purpose::Reads);
        self.inner.metrics.of(purpose.as_str(), timed)
    }

    /// Registers the metrics of all connections.
    pub(super) fn register_metrics(&self, registry: &mut Registry) {
        for purpose in Purpose::ALL {
            drop(self.metrics(purpose));
        }
        self.inner.metrics.register(registry);
    }

    /// Returns what a new connection leads to, with the certificates that the files contained last.
    pub(super) fn target(&self) -> Target {
        Target { address: self.address(), certificates: self.inner.tls.as_ref().map(TlsFiles::mark) }
    }

    /// Reads the certificates again, and returns whether they are others now.
    pub(super) async fn have_certificates_changed(&self) -> bool {
        let before = self.target();
        self.info().await.is_ok() && self.target() != before
    }

    /// Returns the manager of a pool of connections to the current [target](Self::target). The pool must
    /// [introduce](Self::introduce) each connection.
    ///
    /// # Errors
    ///
    /// Fails if the client library refuses the settings.
    pub(super) fn manager(&self, purpose: Purpose) -> Result<Manager, BrokerError> {
        let info = self.inner.info.clone().set_addr(self.address());
        let info = match &self.inner.tls {
            Some(tls) => tls.add_last(info)?,
            None => info,
        };
        Manager::new_with_config(info, self.config(purpose)).map_err(|error| error::sort(&error))
    }

    /// Returns the address to connect to. It is asked for at each attempt, since the primary may be another one by
    /// then; a host name is resolved at each attempt, too.
    pub(super) fn address(&self) -> ConnectionAddr {
        self.inner.info.addr().clone()
    }

    fn config(&self, purpose: Purpose) -> AsyncConnectionConfig {
        let Inner { connect_timeout, timeout, .. } = *self.inner;
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_timeout))
            .set_response_timeout((purpose != Purpose::Blocking).then_some(timeout))
            .set_pipeline_buffer_size(1024)
    }

    /// Returns the parameters of a new connection, with the certificates that the files contain now.
    async fn info(&self) -> Result<ConnectionInfo, BrokerError> {
        let info = self.inner.info.clone().set_addr(self.address());
        if self.inner.tls.is_none() {
            return Ok(info);
        }
        let inner = Arc::clone(&self.inner);
        // Reading may block on a hanging disk.
        let read = tokio::task::spawn_blocking(move || match &inner.tls {
            Some(tls) => tls.add_to(info),
            None => Ok(info),
        });
        match tokio::time::timeout(self.inner.connect_timeout, read).await {
            Ok(Ok(info)) => info,
            _ => Err(BrokerError::Unavailable(
                "cannot connect: the files of TLS cannot be read in time".into(),
            )),
        }
    }

    /// Returns why a connection attempt failed. Redis closes a connection that it does not accept (`maxclients`, protected
    /// mode) with an error that it sends before any command. The commands of the attempt reset the connection, and the
    /// error is lost; so a connection without commands reads it.
    pub(super) async fn failed(&self, error: &RedisError) -> BrokerError {
        let greeting = if error.is_connection_dropped() { self.greeting().await } else { None };
        error::sort_connecting(greeting.as_ref().unwrap_or(error))
    }

    /// Returns the error that the server sends to a connection without commands. Not with TLS, which hides it.
    async fn greeting(&self) -> Option<RedisError> {
        let ConnectionAddr::Tcp(host, port) = self.address() else { return None };
        let read = async {
            let socket = TcpStream::connect((host, port)).await.ok()?;
            let mut line = Vec::new();
            socket.take(GREETING_BYTES).read_to_end(&mut line).await.ok()?;
            error::check(::redis::parse_redis_value(&line).ok()?).err()
        };
        tokio::time::timeout(GREETING, read).await.ok()?
    }

    /// Names a new connection, sends the commands of `preload`, and checks the mode and the version of the server.
    ///
    /// # Errors
    ///
    /// Fails if there is no reply in time, or if the server is a cluster, a Sentinel, or too old.
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
        if let Some((condition, detail)) = replies.into_iter().next().and_then(unusable) {
            return Err(BrokerError::Condition { condition, detail });
        }
        self.metrics(purpose).opened.inc();
        Ok(())
    }
}

/// Returns why a node cannot use a server, by its reply to `HELLO`.
fn unusable(hello: Value) -> Option<(Condition, String)> {
    let Value::Map(fields) = hello else { return None };
    let mut fields =
        fields.into_iter().filter_map(|(name, value)| Some((reply::text(name)?, reply::text(value)?)));
    let is_old = |version: &str| {
        version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok())
            .is_some_and(|major| major < OLDEST)
    };
    fields.find_map(|(name, value)| {
        let condition = match (&*name, &*value) {
            // Most calls have keys of several slots.
            ("mode", "cluster") => Condition::Cluster,
            ("mode", "sentinel") => Condition::Sentinel,
            ("version", version) if is_old(version) => Condition::TooOld,
            _ => return None,
        };
        Some((condition, format!("HELLO: {name} {value}")))
    })
}
