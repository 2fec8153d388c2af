//! What happens to everything that comes down a wire's connection, in the order it comes.
//!
//! The connection's own reader calls [`Ear::push`] for each message, so confirmations and messages reach the node in
//! exactly the order in which Redis sent them, and no queue lies between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redis::{PushInfo, PushKind, Value};
use fanfare_protocol::Channel;
use fanfare_protocol::wire::Topic;
use tokio::sync::Notify;

use super::topics::{Round, Topics};
use crate::redis::keys::Keys;
use crate::redis::reply;
use crate::wire::{Ticket, WireCommand, WireEvent, WireSink};

/// Shared by the wire's task and the reader of its connection. Clones share it.
#[derive(Clone)]
pub(super) struct Ear {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    control: String,
    probe: String,
    /// Wakes the task: something is new in `State::news`.
    news: Notify,
    state: Mutex<State>,
}

/// Never locked across an await. The sink is called under the lock, which keeps its events in order.
struct State {
    sink: WireSink,
    topics: Topics,
    /// Which connection is listened to: what an older one still delivers is dropped.
    connection: u64,
    up: bool,
    /// Confirmed subscriptions that the node was not told of yet.
    confirmed: Vec<(Channel, Ticket)>,
    news: News,
}

/// What the reader has to tell the task.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// The connection is at its end, and why.
    pub(super) lost: Option<&'static str>,
    /// The newest probe that came back.
    pub(super) probe: u64,
}

impl Ear {
    pub(super) fn new(keys: Keys, control: String, probe: String, sink: WireSink) -> Self {
        let state = State {
            sink,
            topics: Topics::default(),
            connection: 0,
            up: false,
            confirmed: Vec::new(),
            news: News::default(),
        };
        let news = Notify::new();
        Self { inner: Arc::new(Inner { keys, control, probe, news, state: Mutex::new(state) }) }
    }

    /// Returns what every connection hears besides channels: the node's control topic and its own probes.
    pub(super) fn own_topics(&self) -> [String; 2] {
        [self.inner.control.clone(), self.inner.probe.clone()]
    }

    pub(super) fn probe_topic(&self) -> &str {
        &self.inner.probe
    }

    /// Listens to a new connection from now on. Answers its number.
    pub(super) fn next_connection(&self) -> u64 {
        let mut state = self.state();
        state.connection += 1;
        state.news = News::default();
        state.connection
    }

    /// Returns the names of the channel's topics, the live one last: what Redis confirms of it, is confirmed of both.
    pub(super) fn topics(&self, channel: &Channel) -> [String; 2] {
        [Topic::Ephemeral, Topic::Live].map(|topic| self.inner.keys.topic(channel, topic))
    }

    /// The connection is given up: tells the node, and forgets what was subscribed to.
    pub(super) fn lost(&self) {
        let mut state = self.state();
        state.connection += 1;
        state.topics.lost();
        state.confirmed.clear();
        if std::mem::take(&mut state.up) {
            (state.sink)(WireEvent::Down);
        }
    }

    /// The node let go of the wire: it is told nothing more, whatever an old connection still delivers.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.connection += 1;
        state.topics = Topics::default();
    }

    /// The node wants something.
    pub(super) fn command(&self, command: WireCommand) {
        let mut state = self.state();
        match command {
            WireCommand::Follow(channels) => {
                let heard = state.topics.follow(channels);
                if !heard.is_empty() {
                    (state.sink)(WireEvent::Followed(heard));
                }
            }
            WireCommand::Unfollow(channels) => state.topics.unfollow(channels),
        }
    }

    /// Returns what to subscribe to and to leave next.
    pub(super) fn round(&self, size: usize) -> Round {
        self.state().topics.round(size)
    }

    /// Waits until there may be news, and answers them. Cancel-safe: a wake-up that is not taken stays.
    pub(super) async fn news(&self) -> News {
        self.inner.news.notified().await;
        self.state().news
    }

    /// Takes what came down a connection. Called by its reader; does not block.
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
                    Some((channel, Topic::Live)) => state.topics.left(channel),
                    Some((channel, Topic::Ephemeral)) => state.topics.is_leaving(channel),
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
        // No event is nearly so large, so nothing is lost with it; what came behind it is read from the logs.
        let is_outlier = reply::is_outlier(&payload);
        let Some(payload) = reply::bytes(payload) else { return };
        state.tell_confirmed();
        if let Some((channel, topic)) = self.inner.keys.channel_of(topic) {
            if let Some(channel) = state.topics.heard(channel).cloned() {
                (state.sink)(WireEvent::Message(channel, topic, payload));
            }
        } else if topic == self.inner.control.as_bytes() {
            (state.sink)(WireEvent::Control(payload));
        } else if topic == self.inner.probe.as_bytes() {
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
            let confirmed = state.topics.joined(channel);
            state.confirmed.extend(confirmed);
            if state.topics.all_joined() {
                state.tell_confirmed();
            }
        } else if topic == self.inner.probe.as_bytes() {
            // The last of our own topics, all of which are asked for before any channel.
            state.up = true;
            (state.sink)(WireEvent::Up);
        }
    }

    fn end(&self, state: &mut State, why: &'static str) {
        state.news.lost = Some(why);
        self.inner.news.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A sink that panicked has taken its event; the rest is whole.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell_confirmed(&mut self) {
        if !self.confirmed.is_empty() {
            let confirmed = std::mem::take(&mut self.confirmed);
            (self.sink)(WireEvent::Followed(confirmed));
        }
    }
}
