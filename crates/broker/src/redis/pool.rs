//! A pool of connections for blocking reads and rare commands.
//!
//! A blocking read occupies its connection, so it cannot use a shared one.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, Pipeline, ProtocolVersion, Value};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};

use super::settings::RedisSettings;
use super::{error, reply};
use crate::BrokerError;

/// The connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    pool: Pool,
    /// Timeout of a reply, beyond the time for which a command blocks.
    timeout: Duration,
}

impl Connections {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, BrokerError> {
        let refused = |what: String| BrokerError::Refused(what);
        let client = settings.client(ProtocolVersion::RESP2)?;
        // The timeout depends on the command and is applied here.
        let config = settings.connection().set_response_timeout(None);
        let manager = Manager::new_with_config(client.get_connection_info().clone(), config)
            .map_err(|error| error::sort(&error))?;
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size.max(1))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(settings.timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.timeout))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { pool, timeout: settings.timeout })
    }

    /// Sends a command that may block for `blocking`. A command that times out closes its connection.
    pub(super) async fn command(&self, command: &Cmd, blocking: Duration) -> Result<Value, BrokerError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command.clone());
        let reply = self.pipeline(&pipeline, blocking).await?.pop().unwrap_or(Value::Nil);
        error::check(reply).map_err(|error| error::sort(&error))
    }

    /// Sends many commands and returns all replies, including error replies.
    pub(super) async fn pipeline(
        &self,
        pipeline: &Pipeline,
        blocking: Duration,
    ) -> Result<Vec<Value>, BrokerError> {
        let connection = self.pool.get().await.map_err(|error| away(&error))?;
        let mut held = Held(Some(connection));
        let Some(connection) = &mut held.0 else { return Err(away(&PoolError::Closed)) };
        let sent = connection.send_packed_commands(pipeline, 0, pipeline.len());
        let replies = match tokio::time::timeout(blocking + self.timeout, sent).await {
            Ok(replies) => replies.map_err(|error| error::sort(&error))?,
            Err(_) => return Err(BrokerError::Unavailable("timed out waiting for a reply".into())),
        };
        let stale = replies.iter().any(|reply| match reply {
            Value::ServerError(error) => {
                let error = error.clone().into();
                // A group that was just created may be missing because this connection leads to a different server.
                error::is_stale(&error) || error.code() == Some("NOGROUP")
            }
            _ => false,
        });
        // A large buffer would stay with the connection.
        if !stale && !replies.iter().any(reply::is_outlier) {
            held.give_back();
        }
        Ok(replies)
    }
}

/// A borrowed connection. If it is dropped while a command is in progress, it is closed, so that the next borrower
/// does not receive the outstanding reply.
struct Held(Option<Connection>);

impl Held {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            let closed: MultiplexedConnection = Connection::take(connection);
            drop(closed);
        }
    }
}

fn away(error: &PoolError) -> BrokerError {
    match error {
        PoolError::Backend(error) => error::sort_connecting(error),
        PoolError::Timeout(_) => BrokerError::Unavailable("timed out waiting for a connection".into()),
        other => BrokerError::Unavailable(other.to_string()),
    }
}
