//! A pool of connections for blocking reads and rare commands.
//!
//! A blocking read occupies its connection, so it cannot use a shared one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, Pipeline, Value};
use deadpool_redis::{Connection, Hook, HookError, Pool, PoolError, Runtime, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::connector::{Connector, Purpose, Target};
use super::metrics::ConnectionMetrics;
use super::settings::RedisSettings;
use super::{error, reply};
use crate::BrokerError;

/// The connections. Clones share them.
#[derive(Clone)]
pub(super) struct BlockingPool {
    connector: Connector,
    settings: Arc<RedisSettings>,
    /// The pool, and what its connections lead to.
    current: Arc<Mutex<(Target, Pool)>>,
    /// Why a new connection was refused last. The pool's own error has only a text.
    refusal: Refusal,
    metrics: ConnectionMetrics,
}

type Refusal = Arc<Mutex<Option<BrokerError>>>;

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
        let (target, refusal) = (connector.target(), Refusal::default());
        let pool = pool(&connector, &settings, &refusal)?;
        let metrics = connector.metrics(Purpose::Blocking);
        Ok(Self { connector, settings, current: Arc::new(Mutex::new((target, pool))), refusal, metrics })
    }

    /// Returns the pool of the current target. Connections to an earlier one end when they are given back.
    fn current(&self) -> Result<Pool, BrokerError> {
        let target = self.connector.target();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != target {
            *current = (target, pool(&self.connector, &self.settings, &self.refusal)?);
        }
        Ok(current.1.clone())
    }

    /// Returns how many connections there are, and how many calls wait for one.
    pub(super) fn status(&self) -> Option<Status> {
        Some(self.current().ok()?.status())
    }

    async fn get(&self) -> Result<Held, BrokerError> {
        let refused = match self.current()?.get().await {
            Ok(connection) => return Ok(Held(Some(connection))),
            Err(error) => error,
        };
        let connects = matches!(refused, PoolError::Backend(_) | PoolError::PostCreateHook(_));
        // A pool connects with the certificates that it was made with.
        if !connects || !self.connector.have_certificates_changed().await {
            return Err(self.unavailable(&refused).await);
        }
        match self.current()?.get().await {
            Ok(connection) => Ok(Held(Some(connection))),
            Err(error) => Err(self.unavailable(&error).await),
        }
    }

    async fn unavailable(&self, error: &PoolError) -> BrokerError {
        if matches!(error, PoolError::Backend(_) | PoolError::PostCreateHook(_)) {
            self.metrics.failed.inc();
        }
        match error {
            PoolError::Backend(error) => self.connector.failed(error).await,
            PoolError::Timeout(_) => BrokerError::Unavailable("timed out waiting for a connection".into()),
            PoolError::PostCreateHook(_) => {
                let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
                // Another call may have taken it, for the same reason.
                refusal.unwrap_or_else(|| BrokerError::Unavailable("Redis refused a connection".into()))
            }
            other => BrokerError::Unavailable(other.to_string()),
        }
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
        let replies = self.send(pipeline, blocking).await;
        match &replies {
            Ok(replies) => self.metrics.count_replies(replies),
            Err(_) => drop(self.metrics.no_replies.inc()),
        }
        replies
    }

    async fn send(&self, pipeline: &Pipeline, blocking: Duration) -> Result<Vec<Value>, BrokerError> {
        let mut held = self.get().await?;
        let Some(connection) = &mut held.0 else { return Err(self.unavailable(&PoolError::Closed).await) };
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

/// Metrics of the pool, read for each scrape.
#[derive(Debug)]
pub(super) struct PoolMetrics(pub(super) BlockingPool);

impl Collector for PoolMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(status) = self.0.status() else { return Ok(()) };
        let in_use = status.size.saturating_sub(status.available);
        for (name, help, value) in [
            ("fanfare_redis_pool_in_use", "Connections of the pool that a call uses", in_use),
            ("fanfare_redis_pool_size", "Maximum number of connections of the pool", status.max_size),
            ("fanfare_redis_pool_waiting", "Calls that wait for a connection of the pool", status.waiting),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// Returns a pool of connections to the connector's target, each made as the connector makes its own.
fn pool(connector: &Connector, settings: &RedisSettings, refusal: &Refusal) -> Result<Pool, BrokerError> {
    let (introducer, refusal) = (connector.clone(), Arc::clone(refusal));
    let introduce = Hook::async_fn(move |connection: &mut MultiplexedConnection, _| {
        let (introducer, refusal) = (introducer.clone(), Arc::clone(&refusal));
        Box::pin(async move {
            let introduced = introducer.introduce(connection, Purpose::Blocking, &[]).await;
            introduced.map_err(|error| {
                *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                HookError::message("refused")
            })
        })
    });
    Pool::builder(connector.manager(Purpose::Blocking)?)
        .max_size(settings.pool_size.max(1))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.timeout))
        .create_timeout(Some(settings.connect_timeout))
        .recycle_timeout(Some(settings.timeout))
        .post_create(introduce)
        .build()
        .map_err(|error| BrokerError::Refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use fanfare_testkit::redis::Redis;

    use super::*;

    #[tokio::test]
    async fn a_refused_connection_is_made_with_the_renewed_certificate() {
        let redis = Redis::with_client_certificates().await;
        let (url, authority) = redis.tls_url();
        let files = redis.certificate().for_client("expired", false);
        let settings = RedisSettings {
            url,
            ca: Some(authority),
            identity: Some(files.clone()),
            ..RedisSettings::default()
        };
        let pool = BlockingPool::new(Connector::new(&settings).unwrap(), &settings).unwrap();
        let ping = async || pool.command(&::redis::cmd("PING"), Duration::ZERO).await;
        assert!(ping().await.unwrap_err().to_string().contains("certificate"));
        let renewed = redis.certificate().for_client("renewed", true);
        std::fs::copy(&renewed.0, &files.0).unwrap();
        std::fs::copy(&renewed.1, &files.1).unwrap();
        assert_eq!(ping().await.unwrap(), Value::SimpleString("PONG".into()));
    }
}
