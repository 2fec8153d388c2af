//! Handles everything that a subscriber connection receives, in order.
//!
//! The connection's reader calls [`PushHandler::push`] for each message, so confirmations and messages reach the node in
//! exactly the order in which Redis sent them, without a queue in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redis::{PushInfo, PushKind, Value};
use fanfare_protocol::Channel;
use fanfare_protocol::wire::Topic;
use tokio::sync::Notify;

use super::subscriptions::{Round, Subscriptions};
use crate::Outage;
use crate::redis::key::Key;
use crate::redis::keys::Keys;
use crate::redis::reply;
use crate::subscriber::{SubscriberCommand, SubscriberEvent, SubscriberSink, Ticket};

/// Shared by the connection's task and its reader. Clones share the state.
#[derive(Clone)]
pub(super) struct PushHandler {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    control: Key,
    probe: Key,
    /// Wakes the task after a change of `State::news`.
    news: Notify,
    state: Mutex<State>,
}

/// Never locked across an await. The sink is called under the lock, which keeps its events in order.
struct State {
    sink: SubscriberSink,
    subscriptions: Subscriptions,
    /// Number of the current connection: messages of older ones are dropped.
    connection: u64,
    up: bool,
    /// Confirmed subscriptions that were not reported to the node yet.
    confirmed: Vec<(Channel, Ticket)>,
    news: News,
}

/// News of the reader for the task.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// Why the connection ended, if it did.
    pub(super) lost: Option<&'static str>,
    /// The newest probe that was received.
    pub(super) probe: u64,
}

impl PushHandler {
    pub(super) fn new(keys: Keys, control: Key, probe: Key, sink: SubscriberSink) -> Self {
        let state = State {
            sink,
            subscriptions: Subscriptions::default(),
            connection: 0,
            up: false,
            confirmed: Vec::new(),
            news: News::default(),
        };
        let news = Notify::new();
        Self { inner: Arc::new(Inner { keys, control, probe, news, state: Mutex::new(state) }) }
    }

    /// Returns the topics of every connection besides channels: the node's control topic and the probe topic.
    pub(super) fn own_topics(&self) -> [Key; 2] {
        [self.inner.control.clone(), self.inner.probe.clone()]
    }

    pub(super) fn probe_topic(&self) -> &Key {
        &self.inner.probe
    }

    /// Switches to a new connection. Returns its number.
    pub(super) fn next_connection(&self) -> u64 {
        let mut state = self.state();
        state.connection += 1;
        state.news = News::default();
        state.connection
    }

    /// Returns the names of the channel's topics, the live topic last: its confirmation confirms both.
    pub(super) fn topics(&self, channel: &Channel) -> [Key; 2] {
        [Topic::Ephemeral, Topic::Live].map(|topic| self.inner.keys.topic(channel, topic))
    }

    /// Handles the loss of the connection, or a failed attempt to connect: reports it to the node and clears all
    /// subscriptions.
    pub(super) fn lost(&self, outage: Option<Outage>) {
        let mut state = self.state();
        state.connection += 1;
        state.subscriptions.reset();
        state.confirmed.clear();
        if std::mem::take(&mut state.up) {
            (state.sink)(SubscriberEvent::Down);
        }
        if let Some(outage) = outage {
            (state.sink)(SubscriberEvent::Unavailable(outage));
        }
    }

    /// Closes the handle: later messages of the connection are dropped.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.connection += 1;
        state.subscriptions = Subscriptions::default();
    }

    /// Handles a command of the node.
    pub(super) fn command(&self, command: SubscriberCommand) {
        let mut state = self.state();
        match command {
            SubscriberCommand::Subscribe(channels) => {
                let subscribed = state.subscriptions.subscribe(channels);
                if !subscribed.is_empty() {
                    (state.sink)(SubscriberEvent::Subscribed(subscribed));
                }
            }
            SubscriberCommand::Unsubscribe(channels) => state.subscriptions.unsubscribe(channels),
        }
    }

    /// Returns the next round of subscriptions.
    pub(super) fn round(&self, size: usize) -> Round {
        self.state().subscriptions.round(size)
    }

    /// Waits for news and returns them. Cancel-safe: a notification that was not received is kept.
    pub(super) async fn news(&self) -> News {
        self.inner.news.notified().await;
        self.state().news
    }

    /// Handles a message of a connection. Called by its reader; does not block.
    pub(super) fn push(&self, connection: u64, push: PushInfo) {
        let mut state = self.state();
        if state.connection != connection {
            return;
        }
        let mut data = push.data.into_iter();
        match push.kind {
            PushKind::Message => {
                if let (Some(Value::BulkString(topic)), Some(payload)) = (data.next(), data.next()) {
                    self.message(&mut state, &topic, payload);
                }
            }
            PushKind::Subscribe => {
                if let Some(Value::BulkString(topic)) = data.next() {
                    self.subscribed(&mut state, &topic);
                }
            }
            PushKind::Unsubscribe => {
                let Some(Value::BulkString(topic)) = data.next() else { return };
                let expected = match self.inner.keys.channel_of(&topic) {
                    Some((channel, Topic::Live)) => state.subscriptions.unsubscribed(channel),
                    Some((channel, Topic::Ephemeral)) => state.subscriptions.is_unsubscribing(channel),
                    None => false,
                };
                if !expected {
                    self.end(&mut state, "Redis ended a subscription");
                }
            }
            PushKind::Disconnection => self.end(&mut state, "the connection was closed"),
            _ => {}
        }
    }

    fn message(&self, state: &mut State, topic: &[u8], payload: Value) {
        // Events are much smaller, so no event is lost; later messages are read from the logs.
        let is_outlier = reply::is_outlier(&payload);
        let Some(payload) = reply::bytes(payload) else { return };
        state.report_confirmed();
        if let Some((channel, topic)) = self.inner.keys.channel_of(topic) {
            if let Some(channel) = state.subscriptions.subscribed_channel(channel).cloned() {
                (state.sink)(SubscriberEvent::Message(channel, topic, payload));
            }
        } else if topic == self.inner.control.as_str().as_bytes() {
            (state.sink)(SubscriberEvent::Control(payload));
        } else if topic == self.inner.probe.as_str().as_bytes() {
            let number = std::str::from_utf8(&payload).ok().and_then(|text| text.parse().ok());
            state.news.probe = number.unwrap_or_default();
            self.inner.news.notify_one();
        }
        if is_outlier {
            self.end(state, "received a message of more than 8 MiB, whose buffer the connection would keep");
        }
    }

    fn subscribed(&self, state: &mut State, topic: &[u8]) {
        if let Some((channel, topic)) = self.inner.keys.channel_of(topic) {
            if topic == Topic::Ephemeral {
                return;
            }
            let confirmed = state.subscriptions.confirmed(channel);
            state.confirmed.extend(confirmed);
            if state.subscriptions.all_confirmed() {
                state.report_confirmed();
            }
        } else if topic == self.inner.probe.as_str().as_bytes() {
            // The last of the control and probe topics, which are subscribed before all channels.
            state.up = true;
            (state.sink)(SubscriberEvent::Up);
        }
    }

    fn end(&self, state: &mut State, why: &'static str) {
        state.news.lost = Some(why);
        self.inner.news.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A sink that panicked has consumed its event; the rest of the state is consistent.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn report_confirmed(&mut self) {
        if !self.confirmed.is_empty() {
            let confirmed = std::mem::take(&mut self.confirmed);
            (self.sink)(SubscriberEvent::Subscribed(confirmed));
        }
    }
}
