//! A pool of connections for blocking reads and rare commands.
//!
//! A blocking read occupies its connection, so it cannot use a shared one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, ConnectionAddr, Pipeline, Value};
use deadpool::Runtime;
use deadpool::managed::{self, Manager, Metrics, Object, PoolError, RecycleError, RecycleResult};

use super::connector::{Connector, Purpose};
use super::settings::RedisSettings;
use super::{error, reply};
use crate::BrokerError;

/// The connections. Clones share them.
#[derive(Clone)]
pub(super) struct BlockingPool {
    connector: Connector,
    settings: Arc<RedisSettings>,
    /// The pool, and the address that its connections lead to.
    current: Arc<Mutex<(ConnectionAddr, Pool)>>,
}

type Pool = managed::Pool<Connector>;

impl fmt::Debug for BlockingPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the credentials.
        f.debug_struct("BlockingPool").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl BlockingPool {
    /// Creates a pool without connections.
    ///
    /// # Errors
    ///
    /// Fails if the connector's settings are refused.
    pub(super) fn new(connector: Connector, settings: &RedisSettings) -> Result<Self, BrokerError> {
        let settings = Arc::new(settings.clone());
        let address = connector.address();
        let pool = pool(&connector, &settings)?;
        Ok(Self { connector, settings, current: Arc::new(Mutex::new((address, pool))) })
    }

    /// Returns the pool of the current address. Connections to an earlier address end when they are given back.
    fn current(&self) -> Result<Pool, BrokerError> {
        let address = self.connector.address();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != address {
            *current = (address, pool(&self.connector, &self.settings)?);
        }
        Ok(current.1.clone())
    }

    /// Sends a command that may block for `blocking`. A command that times out closes its connection.
    pub(super) async fn command(&self, command: &Cmd, blocking: Duration) -> Result<Value, BrokerError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command.clone());
        let reply = self.pipeline(&pipeline, blocking).await?.pop().unwrap_or(Value::Nil);
        error::result(reply)
    }

    /// Sends many commands and returns all replies, including error replies.
    pub(super) async fn pipeline(
        &self,
        pipeline: &Pipeline,
        blocking: Duration,
    ) -> Result<Vec<Value>, BrokerError> {
        let mut held = match self.current()?.get().await {
            Ok(connection) => Held(Some(connection)),
            Err(error) => return Err(unavailable(error)),
        };
        let Some(connection) = &mut held.0 else { return Err(unavailable(PoolError::Closed)) };
        let sent = connection.send_packed_commands(pipeline, 0, pipeline.len());
        let replies = match tokio::time::timeout(blocking + self.settings.timeout, sent).await {
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
struct Held(Option<Object<Connector>>);

impl Held {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            let closed: MultiplexedConnection = Object::take(connection);
            drop(closed);
        }
    }
}

impl Manager for Connector {
    type Type = MultiplexedConnection;
    type Error = BrokerError;

    async fn create(&self) -> Result<MultiplexedConnection, BrokerError> {
        self.connect(Purpose::Blocking).await
    }

    async fn recycle(
        &self,
        connection: &mut MultiplexedConnection,
        _: &Metrics,
    ) -> RecycleResult<BrokerError> {
        let pong = ::redis::cmd("PING").query_async::<()>(connection).await;
        pong.map_err(|error| RecycleError::Backend(error::sort(&error)))
    }
}

fn unavailable(error: PoolError<BrokerError>) -> BrokerError {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Timeout(_) => BrokerError::Unavailable("timed out waiting for a connection".into()),
        other => BrokerError::Unavailable(other.to_string()),
    }
}

/// Returns a pool of connections to the connector's address.
///
/// # Errors
///
/// Fails if the pool's settings are refused.
fn pool(connector: &Connector, settings: &RedisSettings) -> Result<Pool, BrokerError> {
    Pool::builder(connector.clone())
        .max_size(settings.pool_size.max(1))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.timeout))
        .create_timeout(Some(settings.connect_timeout))
        .recycle_timeout(Some(settings.timeout))
        .build()
        .map_err(|error| BrokerError::Refused(error.to_string()))
}
