//! One shared connection for the hot paths, which pipelines all calls.
//!
//! It connects on demand. A connection that broke, timed out or is connected to a replica is replaced; while
//! reconnecting fails, calls fail at once and do not queue up. An idle connection that the server closed is dropped
//! at once, so that no call fails because of it.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, Value,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::batcher::Batcher;
use super::settings::RedisSettings;
use super::{error, reply};
use crate::backoff::Backoff;
use crate::{BrokerError, Condition};

/// First and longest time for which calls fail at once after a failed connection attempt.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A shared connection. Clones share it.
#[derive(Clone)]
pub(super) struct SharedConnection {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    config: AsyncConnectionConfig,
    /// What each connection sends first, behind `HELLO`.
    preload: Vec<Cmd>,
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
    pub(super) fn new(settings: &RedisSettings, preload: Vec<Cmd>) -> Result<Self, BrokerError> {
        let state = State { serial: 0, backoff: Backoff::new(REST.0, REST.1), phase: Phase::Idle };
        Ok(Self {
            inner: Arc::new(Inner {
                // RESP3 reports when a connection ends.
                client: settings.client(ProtocolVersion::RESP3)?,
                config: settings.connection(),
                preload,
                state: Mutex::new(state),
            }),
        })
    }

    /// Sends one command. An error reply is an error.
    pub(super) async fn command(&self, command: Cmd) -> Result<Value, BrokerError> {
        let reply = self.commands(vec![command]).await?.pop();
        Self::reply(reply.ok_or_else(|| error::unexpected("one reply"))?)
    }

    /// Sends many commands at once and returns their replies in order, including error replies (see [`SharedConnection::reply`]).
    ///
    /// # Errors
    ///
    /// Fails if the outcome is unknown.
    pub(super) async fn commands(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, BrokerError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
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

    /// Converts one reply of a pipeline.
    pub(super) fn reply(reply: Value) -> Result<Value, BrokerError> {
        error::check(reply).map_err(|error| error::sort(&error))
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
                    let config = self.inner.config.clone().set_push_sender(self.listener(state.serial));
                    let connecting =
                        connect(self.inner.client.clone(), config, self.first()).boxed().shared();
                    state.phase = Phase::Connecting(connecting.clone());
                    (state.serial, connecting)
                }
            }
        };
        let outcome = connecting.await;
        self.settle(serial, &outcome);
        Ok((serial, outcome?))
    }

    /// Returns the first commands of a connection.
    fn first(&self) -> Pipeline {
        let mut first = Pipeline::new();
        first.cmd("HELLO");
        for command in &self.inner.preload {
            first.add_command(command.clone());
        }
        first
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

    /// Returns a listener for the end of a connection. It keeps only a weak reference, since the shared
    /// connection owns the connection.
    fn listener(&self, serial: u64) -> impl Fn(PushInfo) -> Result<(), Infallible> + Send + Sync + 'static {
        let shared: Weak<Inner> = Arc::downgrade(&self.inner);
        move |push| {
            if push.kind == PushKind::Disconnection
                && let Some(shared) = shared.upgrade()
            {
                shared.drop_connection(serial);
            }
            Ok(())
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }
}

impl Inner {
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

/// Returns a command about one key.
pub(super) fn about(name: &str, key: &str) -> Cmd {
    let mut command = ::redis::cmd(name);
    command.arg(key);
    command
}

/// Connects and sends the first commands, which begin with `HELLO`. Fails if Redis is a cluster, since most
/// calls have keys of several slots.
async fn connect(
    client: Client,
    config: AsyncConnectionConfig,
    first: Pipeline,
) -> Result<Batcher, BrokerError> {
    let away = |error: RedisError| error::sort_connecting(&error);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(away)?;
    // The replies to the other commands are ignored (Redis may be loading): a missing script is loaded when it is called.
    let replies = connection.send_packed_commands(&first, 0, first.len()).await.map_err(away)?;
    if replies.into_iter().next().and_then(mode).as_deref() == Some("cluster") {
        let detail = "HELLO: mode cluster".to_owned();
        return Err(BrokerError::Condition { condition: Condition::Cluster, detail });
    }
    Ok(Batcher::new(connection))
}

/// Returns what a server says of itself in its answer to `HELLO`: `standalone`, `sentinel` or `cluster`.
fn mode(hello: Value) -> Option<String> {
    let Value::Map(fields) = hello else { return None };
    let named = fields.into_iter().find(|(name, _)| reply::text(name.clone()).as_deref() == Some("mode"));
    reply::text(named?.1)
}
