//! Opening and closing of connections.

use std::task::{Context, Poll};

use fanfare_broker::session::CloseReason;
use fanfare_coordination::session::SessionGuard;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Position};

use super::{ConnectionSlot, Shard, Timer};
use crate::connection::{Connection, Deadlines, LongPoll, PeerClose, Subscription};
use crate::encoded_event::Encoding;
use crate::log_reads::{LogQuery, TopicKey};
use crate::stream::{Coding, Identity, NewStream, Transport};
use crate::topic::{Subscriber, Topic};

impl Shard {
    /// Opens a stream. Subscribes before it reads the logs, never the reverse.
    pub(super) fn open(&mut self, (stream, transport): (NewStream, Transport)) {
        let identity = stream.identity();
        let NewStream {
            begun,
            user,
            held,
            channels,
            dialect,
            coding,
            expires,
            token,
            cursor,
            heartbeat,
            wait,
            ..
        } = stream;
        let encoding = Encoding { dialect, coding };
        let serial = self.next_serial();
        let silence = held.as_ref().and_then(SessionGuard::silence);
        let heartbeat = self.context.settings.heartbeat_of(heartbeat, silence);
        let deadlines = Deadlines::new(expires, heartbeat);
        let validity = (deadlines, wait.map(LongPoll::new), token);
        let user_socket = self.context.user_sockets.enter(user);
        let resumed = cursor.is_some();
        let connection = Connection::new(
            (serial, begun),
            (identity, held, encoding),
            cursor,
            transport,
            (validity, user_socket),
        );
        let next = connection.next_check(&self.context);
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        let timer = self.timers.insert_at(Timer::Connection(key), next);
        entry.insert(ConnectionSlot { connection, waker: self.ready.waker(key), timer });
        self.context.metrics.opened.inc();
        if coding == Coding::Gzip {
            self.context.metrics.gzip.inc();
        }
        if resumed {
            self.context.metrics.reconnections.inc();
        }
        if !self.enter(key) {
            return;
        }
        let channels = self.join(key, channels);
        self.begin_reading(key, channels);
        self.watch_for_close(key);
    }

    /// Registers a connection for its identity. Supersedes an older connection of the same identity, or ends this one
    /// if it is older. Returns whether the connection continues.
    fn enter(&mut self, key: usize) -> bool {
        if let Some(reason) = self.closing {
            self.begin_end(key, reason);
            return false;
        }
        let (identity, epoch) = {
            let connection = &self.slots[key].connection;
            (connection.identity().clone(), connection.epoch())
        };
        if let Some(&older) = self.by_identity.get(&identity) {
            if self.slots[older].connection.epoch() > epoch {
                self.begin_end(key, CloseReason::Superseded);
                return false;
            }
            self.begin_end(older, CloseReason::Superseded);
        }
        self.by_identity.insert(identity, key);
        // The claim may have been lost before the stream arrived, when there was no stream to end.
        if self.slots[key].connection.is_lost() {
            self.begin_end(key, CloseReason::Superseded);
            return false;
        }
        // The token may have been revoked before the stream arrived.
        if self.slots[key].connection.is_revoked() {
            self.begin_end(key, CloseReason::Revoked);
            return false;
        }
        true
    }

    /// Adds a connection to its channels' topics. Returns the start of each channel, in the order of the connection's
    /// channels.
    fn join(&mut self, key: usize, mut channels: Vec<(Channel, StartAt)>) -> Vec<StartAt> {
        channels.sort_by_key(|(channel, _)| channel.tag());
        let mut subscriptions = Vec::with_capacity(channels.len());
        let mut fresh = Vec::new();
        for (index, (channel, _)) in channels.iter().enumerate() {
            let at = if let Some(&at) = self.by_channel.get(channel) {
                at
            } else {
                fresh.push(channel.clone());
                self.new_topic(channel.clone())
            };
            let subscribers = &mut self.topics[at].subscribers;
            subscriptions.push(Subscription::new(channel.tag(), at, subscribers.len()));
            subscribers.push(Subscriber { connection: key, index });
        }
        self.slots[key].connection.subscribe(subscriptions);
        if !fresh.is_empty() {
            self.table.subscribe(self.index, &fresh);
        }
        channels.into_iter().map(|(_, from)| from).collect()
    }

    fn new_topic(&mut self, channel: Channel) -> usize {
        let serial = self.next_serial();
        let namespace = self.context.metrics.namespaces.of(&channel);
        let at = self.topics.insert(Topic::new(serial, channel.clone(), namespace));
        self.by_channel.insert(channel, at);
        at
    }

    fn begin_reading(&mut self, key: usize, begins: Vec<StartAt>) {
        for (index, from) in begins.into_iter().enumerate() {
            let at = self.slots[key].connection.subscription(index).topic;
            let known = match from {
                StartAt::Position(position) => Some(position),
                StartAt::Tip(position) => {
                    self.slots[key].connection.begins_at_tip(index);
                    Some(position)
                }
                StartAt::Latest => self.topics[at].tip(),
                _ => None,
            };
            match known {
                Some(position) => self.start_at(Subscriber { connection: key, index }, position),
                None => self.read_log(at, LogQuery::Locate(from), Subscriber { connection: key, index }),
            }
        }
        self.greet(key);
    }

    /// Sets the start position of a connection's channel.
    pub(super) fn start_at(&mut self, Subscriber { connection: key, index }: Subscriber, position: Position) {
        self.slots[key].connection.located(index, position, &self.context);
    }

    /// Sends the first block and starts the catch-up, once the start of every channel is known.
    pub(super) fn greet(&mut self, key: usize) {
        let connection = &mut self.slots[key].connection;
        if connection.is_locating() {
            return;
        }
        connection.greet(&self.context);
        self.mark(key);
        // Before the greeting is written, so that connections that open together share log reads.
        self.catch_up(key);
    }

    /// Polls the socket for the first time, which registers the waker for a close by the client.
    fn watch_for_close(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if let Poll::Ready(close) = slot.connection.poll_peer_close(&mut Context::from_waker(&slot.waker)) {
            self.peer_closed(key, close);
        }
    }

    /// Handles a close by the client. The first probe is sent at once, to detect a client that has closed both
    /// halves.
    pub(super) fn peer_closed(&mut self, key: usize, close: PeerClose) {
        match close {
            PeerClose::Broken(reason) => self.drop_connection(key, reason),
            PeerClose::HalfClosed => {
                let slot = &mut self.slots[key];
                slot.connection.half_closed();
                slot.connection.queue_heartbeat();
                self.timers.reset_at(&slot.timer, slot.connection.next_check(&self.context));
                self.mark(key);
            }
        }
    }

    /// Ends an identity's stream if its epoch is below.
    pub(super) fn end_stream(&mut self, identity: &Identity, below: u64, reason: CloseReason) {
        if let Some(&key) = self.by_identity.get(identity)
            && self.slots[key].connection.epoch() < below
        {
            self.begin_end(key, reason);
        }
    }

    /// Ends all streams; the shard ends with the last one.
    pub(super) fn close(&mut self, reason: CloseReason) {
        self.closing = Some(reason);
        let keys: Vec<usize> = self.slots.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.begin_end(key, reason);
        }
    }

    /// Starts to end a connection: releases its claim and its topics at once; queued data is still written.
    pub(super) fn begin_end(&mut self, key: usize, reason: CloseReason) {
        if !self.slots[key].connection.is_open() {
            return;
        }
        self.leave(key);
        let slot = &mut self.slots[key];
        slot.connection.begin_end(reason, &self.context, &slot.waker);
        self.timers.reset_at(&slot.timer, slot.connection.next_check(&self.context));
        self.mark(key);
    }

    /// Drops a connection with all its queued data.
    pub(super) fn drop_connection(&mut self, key: usize, reason: CloseReason) {
        if self.slots[key].connection.is_open() {
            self.leave(key);
            let begun = self.slots[key].connection.begun();
            self.context.metrics.count_end(reason, begun);
            self.slots[key].connection.release(reason, &self.context.settings);
        }
        let mut slot = self.slots.remove(key);
        slot.connection.count_gone(&self.context);
        slot.connection.log_end(reason, &self.context);
        self.timers.try_remove(&slot.timer);
        self.context.open_streams.remove(1);
    }

    /// Releases the connection's session and topics.
    fn leave(&mut self, key: usize) {
        let connection = &self.slots[key].connection;
        if self.by_identity.get(connection.identity()) == Some(&key) {
            self.by_identity.remove(connection.identity());
        }
        // The connection keeps its subscriptions: queued events refer to them, for the cursor in their `id:`.
        for (at, index) in connection.places_in_topics() {
            self.remove_subscriber(at, index);
            let topic = &mut self.topics[at];
            if topic.subscribers.is_empty() && !topic.unsubscribing {
                topic.unsubscribing = true;
                let topic = (at, topic.serial);
                self.timers.insert(Timer::Unsubscribe(topic), self.context.settings.unsubscribe_delay);
            }
        }
    }

    /// Drops a topic that still has no connections.
    pub(super) fn drop_topic(&mut self, key: TopicKey) {
        let Some(topic) = self.topic(key) else { return };
        topic.unsubscribing = false;
        if !topic.subscribers.is_empty() {
            return;
        }
        let channel = topic.channel.clone();
        self.topics.remove(key.0);
        self.by_channel.remove(&channel);
        self.table.unsubscribe(self.index, &channel);
    }
}
