//! Opening and closing of connections.

use std::task::{Context, Poll};

use fanfare_protocol::Channel;
use fanfare_protocol::start::StartAt;

use super::{Seat, Timer, Writer};
use crate::connection::{Clock, Connection, Following, Left};
use crate::delivery::View;
use crate::ending::Ending;
use crate::hub::reads::{Ask, TopicKey};
use crate::hub::topic::{Member, Topic};
use crate::stream::{Coding, Identity, Socket, Stream};

impl Writer {
    /// Opens a stream. Subscribes first and reads the logs afterwards, never the other way round.
    pub(super) fn open(&mut self, stream: Stream, socket: Box<dyn Socket>) {
        let identity = stream.identity();
        let Stream { user, held, channels, format, coding, expires, cursor, head, framing, .. } = stream;
        let view = View { format, coding };
        let serial = self.next_serial();
        let clock = Clock::new(expires, &self.around.settings);
        let place = self.around.places.enter(user);
        let resumed = cursor.is_some();
        let connection =
            Connection::new(serial, (identity, held, view), cursor, (socket, framing, &head), (clock, place));
        let next = connection.clock.next_look(&self.around.settings);
        let entry = self.seats.vacant_entry();
        let key = entry.key();
        let timer = self.timers.insert_at(Timer::Connection(key), next);
        entry.insert(Seat { connection, waker: self.woken.waker(key), timer });
        self.around.metrics.opened.inc();
        if coding == Coding::Gzip {
            self.around.metrics.gzip.inc();
        }
        if resumed {
            self.around.metrics.reconnections.inc();
        }
        if !self.enter(key) {
            return;
        }
        let channels = self.join(key, channels);
        self.begin_reading(key, channels);
        self.look_for_close(key);
    }

    /// Registers a connection for its identity. Supersedes an older connection of the same identity, or ends this one
    /// if it is older. Returns whether the connection continues.
    fn enter(&mut self, key: usize) -> bool {
        if let Some(ending) = self.closing {
            self.begin_end(key, ending);
            return false;
        }
        let (identity, epoch) = {
            let connection = &self.seats[key].connection;
            (connection.identity.clone(), connection.epoch)
        };
        if let Some(&older) = self.by_identity.get(&identity) {
            if self.seats[older].connection.epoch > epoch {
                self.begin_end(key, Ending::Superseded);
                return false;
            }
            self.begin_end(older, Ending::Superseded);
        }
        self.by_identity.insert(identity, key);
        // The claim may have been lost before the stream arrived, when there was no stream to end.
        if self.seats[key].connection.is_lost() {
            self.begin_end(key, Ending::Superseded);
            return false;
        }
        true
    }

    /// Adds a connection to its channels' topics. Returns the start of each channel, in the order of the connection's
    /// channels.
    fn join(&mut self, key: usize, mut channels: Vec<(Channel, StartAt)>) -> Vec<StartAt> {
        channels.sort_by_key(|(channel, _)| channel.tag());
        let mut follows = Vec::with_capacity(channels.len());
        let mut fresh = Vec::new();
        for (index, (channel, _)) in channels.iter().enumerate() {
            let at = if let Some(&at) = self.by_channel.get(channel) {
                at
            } else {
                fresh.push(channel.clone());
                self.new_topic(channel.clone())
            };
            let members = &mut self.topics[at].members;
            follows.push(Following::new(channel.tag(), at, members.len()));
            members.push(Member { connection: key, index });
        }
        let connection = &mut self.seats[key].connection;
        connection.locating = u32::try_from(follows.len()).unwrap_or(u32::MAX);
        connection.follows = follows.into();
        if !fresh.is_empty() {
            self.follows.join(self.index, &fresh);
        }
        channels.into_iter().map(|(_, from)| from).collect()
    }

    fn new_topic(&mut self, channel: Channel) -> usize {
        let serial = self.next_serial();
        let at = self.topics.insert(Topic::new(serial, channel.clone()));
        self.by_channel.insert(channel, at);
        at
    }

    fn begin_reading(&mut self, key: usize, begins: Vec<StartAt>) {
        for (index, from) in begins.into_iter().enumerate() {
            let at = self.seats[key].connection.follows[index].topic;
            let known = match from {
                StartAt::Position(position) => Some(position),
                StartAt::Tip(position) => {
                    self.seats[key].connection.follows[index].begins_at_tip();
                    Some(position)
                }
                StartAt::Latest => self.topics[at].tip(),
                _ => None,
            };
            match known {
                Some(position) => self.seats[key].connection.located(index, position),
                None => self.ask(at, Ask::Locate(from), Member { connection: key, index }),
            }
        }
        self.greet(key);
    }

    /// Sends the first block and starts the catch-up, once the start of every channel is known.
    pub(super) fn greet(&mut self, key: usize) {
        let connection = &mut self.seats[key].connection;
        if connection.locating > 0 {
            return;
        }
        connection.greet(&self.around);
        self.mark(key);
        // Before the greeting is written, so that connections that open together share log reads.
        self.catch_up(key);
    }

    /// Polls the socket for the first time, which registers the waker for a close by the client.
    fn look_for_close(&mut self, key: usize) {
        let seat = &mut self.seats[key];
        if let Poll::Ready(left) = seat.connection.poll_left(&mut Context::from_waker(&seat.waker)) {
            self.left(key, left);
        }
    }

    /// Handles a close by the client. The first probe is sent at once, to detect a client that has closed both
    /// halves.
    pub(super) fn left(&mut self, key: usize, left: Left) {
        match left {
            Left::Broken(ending) => self.drop_connection(key, ending),
            Left::HalfClosed => {
                let seat = &mut self.seats[key];
                seat.connection.clock.half_closed();
                seat.connection.beat();
                self.timers.reset_at(&seat.timer, seat.connection.clock.next_look(&self.around.settings));
                self.mark(key);
            }
        }
    }

    /// Ends an identity's stream if its epoch is below.
    pub(super) fn end_stream(&mut self, identity: &Identity, below: u64, ending: Ending) {
        if let Some(&key) = self.by_identity.get(identity)
            && self.seats[key].connection.epoch < below
        {
            self.begin_end(key, ending);
        }
    }

    /// Ends all streams; the shard ends with the last one.
    pub(super) fn close(&mut self, ending: Ending) {
        self.closing = Some(ending);
        let keys: Vec<usize> = self.seats.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.begin_end(key, ending);
        }
    }

    /// Starts to end a connection: releases its claim and its topics at once; queued data is still written.
    pub(super) fn begin_end(&mut self, key: usize, ending: Ending) {
        if self.seats[key].connection.ending.is_some() {
            return;
        }
        self.leave(key);
        let seat = &mut self.seats[key];
        seat.connection.begin_end(ending, &self.around, &seat.waker);
        self.timers.reset_at(&seat.timer, seat.connection.clock.next_look(&self.around.settings));
        self.mark(key);
    }

    /// Drops a connection with all its queued data.
    pub(super) fn drop_connection(&mut self, key: usize, ending: Ending) {
        if self.seats[key].connection.ending.is_none() {
            self.leave(key);
            self.around.metrics.count_end(ending);
            self.seats[key].connection.release(ending);
        }
        let mut seat = self.seats.remove(key);
        seat.connection.count_gone(&self.around);
        self.timers.try_remove(&seat.timer);
        self.around.metrics.active.dec();
    }

    /// Releases the connection's session and topics.
    fn leave(&mut self, key: usize) {
        let connection = &mut self.seats[key].connection;
        if self.by_identity.get(&connection.identity) == Some(&key) {
            self.by_identity.remove(&connection.identity);
        }
        let follows = std::mem::take(&mut connection.follows);
        for following in &follows {
            self.remove_member(following.topic, following.place);
            let topic = &mut self.topics[following.topic];
            if topic.members.is_empty() && !topic.unfollowing {
                topic.unfollowing = true;
                let topic = (following.topic, topic.serial);
                self.timers.insert(Timer::Unfollow(topic), self.around.settings.unsubscribe_delay);
            }
        }
        // Queued events refer to channels by index, for the cursor in their `id:`.
        self.seats[key].connection.follows = follows;
    }

    /// Drops a topic that still has no connections.
    pub(super) fn drop_topic(&mut self, key: TopicKey) {
        let Some(topic) = self.topic(key) else { return };
        topic.unfollowing = false;
        if !topic.members.is_empty() {
            return;
        }
        let channel = topic.channel.clone();
        self.topics.remove(key.0);
        self.by_channel.remove(&channel);
        self.follows.leave(self.index, &channel);
    }
}
