//! One shared connection for the hot paths, which pipelines all calls.
//!
//! It connects on demand. A connection that broke, timed out or is connected to a replica is replaced; while
//! reconnecting fails, calls fail at once and do not queue up. An idle connection that the server closed is dropped
//! at once, so that no call fails because of it.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ::redis::{Cmd, PushInfo, PushKind, RedisError, Value};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::batcher::Batcher;
use super::connector::{Connector, Purpose};
use super::metrics::ConnectionMetrics;
use super::{error, reply};
use crate::BrokerError;
use crate::backoff::Backoff;

/// First and longest time for which calls fail at once after a failed connection attempt.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A shared connection. Clones share it.
#[derive(Clone)]
pub(super) struct SharedConnection {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    purpose: Purpose,
    metrics: ConnectionMetrics,
    /// First commands of each connection.
    preload: Arc<[Cmd]>,
    state: Mutex<State>,
}

/// State of the connection. Never locked across an await.
struct State {
    /// Number of the attempt, so that the result of an old one does not affect a newer one.
    serial: u64,
    backoff: Backoff,
    phase: Phase,
}

type Connecting = Shared<BoxFuture<'static, Result<Batcher, BrokerError>>>;

enum Phase {
    Idle,
    /// Polled by all callers that wait for it.
    Connecting(Connecting),
    Up(Batcher),
    /// Calls fail with this until then.
    Resting(Instant, BrokerError),
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.state().phase {
            Phase::Idle => "idle",
            Phase::Connecting(_) => "connecting",
            Phase::Up(_) => "up",
            Phase::Resting(..) => "resting",
        };
        f.debug_tuple("SharedConnection").field(&phase).finish()
    }
}

impl SharedConnection {
    /// Creates a connection that is not connected yet. Each attempt begins with the commands of `preload`, whatever Redis
    /// answers to them.
    pub(super) fn new(connector: Connector, purpose: Purpose, preload: Vec<Cmd>) -> Self {
        let state = State { serial: 0, backoff: Backoff::new(REST.0, REST.1), phase: Phase::Idle };
        let metrics = connector.metrics(purpose);
        let (preload, state) = (preload.into(), Mutex::new(state));
        Self { inner: Arc::new(Inner { connector, purpose, metrics, preload, state }) }
    }

    /// Sends one command. An error reply is an error.
    pub(super) async fn command(&self, command: Cmd) -> Result<Value, BrokerError> {
        let reply = self.commands(vec![command]).await?.pop();
        error::result(reply.ok_or_else(|| error::unexpected("one reply"))?)
    }

    /// Sends many commands at once and returns their replies in order, including error replies (see [`error::result`]).
    ///
    /// # Errors
    ///
    /// Fails if the outcome is unknown.
    pub(super) async fn commands(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, BrokerError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.call(commands).await;
        let metrics = &self.inner.metrics;
        match &replies {
            Ok(replies) => metrics.count_replies(replies),
            Err(_) => drop(metrics.no_replies.inc()),
        }
        replies
    }

    async fn call(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, BrokerError> {
        let (serial, connection) = self.connection().await?;
        let replies = connection.call(commands).await;
        let replies = replies.map_err(|error| self.failed(serial, &error))?;
        for reply in &replies {
            if let Value::ServerError(error) = reply {
                self.failed(serial, &error.clone().into());
            } else if reply::is_outlier(reply) {
                // The connection keeps the large buffer. It is closed after the last call in progress.
                self.inner.drop_connection(serial);
            }
        }
        Ok(replies)
    }

    async fn connection(&self) -> Result<(u64, Batcher), BrokerError> {
        let (serial, connecting) = {
            let mut state = self.state();
            match &state.phase {
                Phase::Up(connection) => return Ok((state.serial, connection.clone())),
                Phase::Resting(until, error) if *until > Instant::now() => return Err(error.clone()),
                Phase::Connecting(connecting) => (state.serial, connecting.clone()),
                Phase::Idle | Phase::Resting(..) => {
                    state.serial += 1;
                    let connecting = self.inner.connect(state.serial);
                    state.phase = Phase::Connecting(connecting.clone());
                    (state.serial, connecting)
                }
            }
        };
        let outcome = connecting.await;
        self.settle(serial, &outcome);
        Ok((serial, outcome?))
    }

    /// Records the outcome of an attempt; called by the first caller that waited for it.
    fn settle(&self, serial: u64, outcome: &Result<Batcher, BrokerError>) {
        let mut state = self.state();
        if state.serial != serial || !matches!(state.phase, Phase::Connecting(_)) {
            return;
        }
        state.phase = match outcome {
            Ok(connection) => {
                state.backoff.succeed();
                Phase::Up(connection.clone())
            }
            Err(error) => Phase::Resting(Instant::now() + state.backoff.fail(), error.clone()),
        };
    }

    /// Classifies an error, and drops the connection if it must be replaced.
    fn failed(&self, serial: u64, error: &RedisError) -> BrokerError {
        if error::is_stale(error) {
            self.inner.drop_connection(serial);
        }
        error::sort(error)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }
}

impl Inner {
    /// Starts an attempt.
    fn connect(self: &Arc<Self>, serial: u64) -> Connecting {
        // Without a reference to this, which keeps the attempt.
        let (connector, purpose, preload) = (self.connector.clone(), self.purpose, Arc::clone(&self.preload));
        let latency = self.metrics.latency.clone();
        let listener = listener(Arc::downgrade(self), serial);
        let connect = async move {
            let connected = connector.connect_with_pushes(purpose, &preload, listener).await;
            Ok(Batcher::new(connected?, latency))
        };
        connect.boxed().shared()
    }

    /// Drops a connection, unless it was replaced already.
    fn drop_connection(&self, serial: u64) {
        let mut state = self.state();
        if state.serial == serial && matches!(state.phase, Phase::Up(_)) {
            state.phase = Phase::Idle;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change under the lock is one assignment, so a panic leaves a consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a listener for the end of a connection. It keeps only a weak reference, since the shared connection owns the
/// connection.
fn listener(
    shared: Weak<Inner>,
    serial: u64,
) -> impl Fn(PushInfo) -> Result<(), Infallible> + Send + Sync + 'static {
    move |push| {
        if push.kind == PushKind::Disconnection
            && let Some(shared) = shared.upgrade()
        {
            shared.drop_connection(serial);
        }
        Ok(())
    }
}
