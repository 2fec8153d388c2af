//! The subscriber connection: one connection that is subscribed to the live topics of a node's channels, and
//! reconnects forever.
//!
//! It uses RESP3, in which messages, confirmations and replies share one connection in order. The connection serves
//! only subscriptions. One task owns it: the task connects, subscribes in rounds, and sends probes.
//!
//! A probe takes the way of every event: a number is published over the connection that publishes events, on a topic
//! to which only this connection is subscribed. So a partition, a paused Redis and a connection to a former primary
//! are detected even without events.
//!
//! # Layout
//!
//! - `subscriptions`: wanted and confirmed subscriptions
//! - `push_handler`: handles incoming messages

mod push_handler;
mod subscriptions;

use std::future::pending;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{PushInfo, RedisError, RedisResult, Value};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use uuid::Uuid;

use self::push_handler::{News, PushHandler};
use self::subscriptions::Round;
use super::RedisBroker;
use super::connector::{Connector, Purpose};
use super::error;
use super::key::{Key, about};
use super::shared_connection::SharedConnection;
use crate::backoff::Backoff;
use crate::subscriber::{SubscriberCommand, SubscriberConnection, SubscriberSink};
use crate::{BrokerError, LiveTopics, NodeId, Outage};

/// Maximum number of channels in one command, two topics each. Redis serves no other connection meanwhile.
const ROUND: usize = 500;
/// First time between two connection attempts.
const RETRY_MIN: Duration = Duration::from_millis(50);

impl LiveTopics for RedisBroker {
    fn open_subscriber(&self, node: &NodeId, sink: SubscriberSink) -> SubscriberConnection {
        let (sender, commands) = mpsc::unbounded_channel();
        let probe = self.keys.probe(Uuid::new_v4());
        let primary = self.connections.for_key(&probe);
        let handler = PushHandler::new(self.keys.clone(), self.keys.control(node), probe, sink);
        let settings = &self.redis;
        let task = SubscriberTask {
            connector: primary.connector.clone(),
            publisher: primary.commands.clone(),
            handler,
            commands,
            backoff: Backoff::new(RETRY_MIN, settings.retry_max),
            probe_interval: settings.probe_interval,
            probe_timeout: settings.probe_timeout,
        };
        SubscriberConnection::new(sender, tokio::spawn(task.run()))
    }
}

/// The task of the subscriber connection, which ends when the node drops its handle.
struct SubscriberTask {
    connector: Connector,
    /// The connection that publishes events, and probes.
    publisher: SharedConnection,
    handler: PushHandler,
    /// Commands of the node. Received at once, also without a connection.
    commands: mpsc::UnboundedReceiver<SubscriberCommand>,
    backoff: Backoff,
    probe_interval: Duration,
    probe_timeout: Duration,
}

/// Why a connection, or the wait for the next one, ended.
enum Over {
    /// The node dropped its handle.
    Closed,
    /// For the log; and the broker's reason, if it has one.
    Lost(String, Option<Outage>),
}

impl From<&str> for Over {
    fn from(why: &str) -> Self {
        Self::Lost(why.to_owned(), None)
    }
}

impl SubscriberTask {
    async fn run(mut self) {
        loop {
            let over = match self.connect().await {
                Ok(connection) => self.serve(connection).await,
                Err(over) => over,
            };
            let Over::Lost(why, outage) = over else {
                self.handler.close();
                return;
            };
            self.handler.lost(outage);
            let pause = self.backoff.fail();
            tracing::warn!(why, retry_ms = pause.as_millis(), "subscriber connection down; reconnecting");
            if let Err(Over::Closed) = self.wait(tokio::time::sleep(pause)).await {
                return;
            }
        }
    }

    /// Waits for a future while receiving commands.
    async fn wait<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Over> {
        let mut future = std::pin::pin!(future);
        loop {
            // Both branches are cancel-safe: the future is pinned outside the loop, and `recv` loses nothing.
            tokio::select! {
                done = &mut future => return Ok(done),
                command = self.commands.recv() => match command {
                    Some(command) => self.handler.command(command),
                    None => return Err(Over::Closed),
                },
            }
        }
    }

    async fn connect(&mut self) -> Result<MultiplexedConnection, Over> {
        let number = self.handler.next_connection();
        let handler = self.handler.clone();
        let connector = self.connector.clone();
        let pushes = move |push: PushInfo| {
            handler.push(number, push);
            Ok::<(), std::convert::Infallible>(())
        };
        let connected = async move { connector.connect_with_pushes(Purpose::Subscriber, &[], pushes).await };
        self.wait(connected).await?.map_err(|error| {
            let outage = error.outage();
            Over::Lost(detail(error), Some(outage))
        })
    }

    async fn serve(&mut self, connection: MultiplexedConnection) -> Over {
        let opening = self.handler.own_topics().to_vec();
        let mut round: Option<BoxFuture<'static, RedisResult<()>>> =
            Some(subscribe(connection.clone(), opening, Vec::new()).boxed());
        let mut probe = Probe::new(self.probe_interval, self.probe_timeout);
        // Whether the control and probe topics are confirmed: they are subscribed first, and probes need them.
        let mut open = false;
        loop {
            if round.is_none() {
                // All queued commands go into one round.
                while let Ok(command) = self.commands.try_recv() {
                    self.handler.command(command);
                }
                round = self.next_round(&connection);
            }
            let deadline = probe.deadline();
            // All branches are cancel-safe: futures in progress are kept outside the loop, and the others only wait.
            tokio::select! {
                biased;
                news = self.handler.news() => {
                    if let Some(over) = self.handle_news(news, &mut probe) {
                        return over;
                    }
                }
                done = under_way(&mut round) => {
                    round = None;
                    open = true;
                    if let Err(error) = done {
                        return lost("cannot subscribe", &error);
                    }
                }
                answer = under_way(&mut probe.publishing) => {
                    probe.publishing = None;
                    if let Some(over) = probe.published(answer) {
                        return over;
                    }
                }
                () = reached(deadline) => {
                    return Over::Lost("liveness probe timed out".into(), probe.outage.or(Some(Outage::NoAnswer)));
                }
                _ = probe.every.tick(), if open => probe.send(&self.publisher, self.handler.probe_topic()),
                command = self.commands.recv() => match command {
                    Some(command) => self.handler.command(command),
                    None => return Over::Closed,
                },
            }
        }
    }

    fn handle_news(&mut self, news: News, probe: &mut Probe) -> Option<Over> {
        if let Some(why) = news.lost {
            return Some(why.into());
        }
        if probe.answered(news.probe) {
            // The connection works end to end: the next loss is a new one.
            self.backoff.succeed();
        }
        None
    }

    fn next_round(&self, connection: &MultiplexedConnection) -> Option<BoxFuture<'static, RedisResult<()>>> {
        let Round { subscribe: added, unsubscribe: removed } = self.handler.round(ROUND);
        if added.is_empty() && removed.is_empty() {
            return None;
        }
        let names = |channels: Vec<fanfare_protocol::Channel>| -> Vec<Key> {
            channels.iter().flat_map(|channel| self.handler.topics(channel)).collect()
        };
        Some(subscribe(connection.clone(), names(added), names(removed)).boxed())
    }
}

/// Subscribes and unsubscribes; completes when everything is confirmed.
async fn subscribe(
    mut connection: MultiplexedConnection,
    added: Vec<Key>,
    removed: Vec<Key>,
) -> RedisResult<()> {
    if !removed.is_empty() {
        connection.unsubscribe(removed).await?;
    }
    if !added.is_empty() {
        connection.subscribe(added).await?;
    }
    Ok(())
}

/// Waits for the future in progress; forever if there is none.
async fn under_way<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}

fn lost(what: &str, error: &RedisError) -> Over {
    let error = error::sort(error);
    let outage = error.outage();
    Over::Lost(format!("{what}: {}", detail(error)), Some(outage))
}

fn detail(error: BrokerError) -> String {
    match error {
        BrokerError::Refused(text) | BrokerError::Unavailable(text) => text,
        condition @ BrokerError::Condition { .. } => condition.to_string(),
    }
}

/// The probe of one connection.
struct Probe {
    every: Interval,
    timeout: Duration,
    number: u64,
    /// When the oldest probe without an answer was sent.
    waiting: Option<Instant>,
    /// At most one is being published.
    publishing: Option<BoxFuture<'static, Result<Value, BrokerError>>>,
    /// Why the last probe was not published.
    outage: Option<Outage>,
}

impl Probe {
    fn new(every: Duration, timeout: Duration) -> Self {
        let mut every = tokio::time::interval(every.max(Duration::from_millis(1)));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { every, timeout, number: 0, waiting: None, publishing: None, outage: None }
    }

    fn send(&mut self, publisher: &SharedConnection, topic: &Key) {
        if self.publishing.is_some() {
            return;
        }
        self.number += 1;
        self.waiting.get_or_insert_with(Instant::now);
        let mut command = about("PUBLISH", topic);
        command.arg(self.number);
        let publisher = publisher.clone();
        self.publishing = Some(async move { publisher.command(command).await }.boxed());
    }

    /// Handles the reply to a published probe. Returns why the connection must be replaced, if it must.
    fn published(&mut self, answer: Result<Value, BrokerError>) -> Option<Over> {
        self.outage = answer.as_ref().err().map(BrokerError::outage);
        match answer {
            Ok(Value::Int(0)) => Some(
                "events are published to a different Redis than the subscriber connection is connected to"
                    .into(),
            ),
            Ok(_) => None,
            // Not a reason to reconnect yet: the probe times out if this persists.
            Err(error) => {
                tracing::debug!(%error, "failed to publish a liveness probe");
                None
            }
        }
    }

    fn answered(&mut self, number: u64) -> bool {
        let newest = self.number > 0 && number == self.number;
        if newest {
            self.waiting = None;
        }
        newest
    }

    /// Returns when the connection is replaced, unless a probe is answered.
    fn deadline(&self) -> Option<Instant> {
        self.waiting.map(|since| since + self.timeout)
    }
}
