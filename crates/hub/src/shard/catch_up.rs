//! Catch-up of connections that are behind: from the window if it has their position, otherwise from the log.

use super::Shard;
use crate::connection::ChannelState;
use crate::log_reads::LogQuery;
use crate::topic::Subscriber;

/// Maximum number of concurrent log reads for one connection, and so of pages that wait for one client.
const READS_AT_ONCE: u32 = 4;

impl Shard {
    /// Handles dropped events of this shard: all channels may have missing events.
    pub(super) fn repair_all(&mut self) {
        let keys: Vec<usize> = self.topics.iter().map(|(key, _)| key).collect();
        for at in keys {
            let subscribed = self.topics[at].subscribed;
            self.topics[at].invalidate(subscribed);
            self.repair(at);
        }
    }

    /// Lets every connection of a topic catch up from the log. Connections at the same position share the read.
    pub(super) fn repair(&mut self, at: usize) {
        for nth in 0..self.topics[at].subscribers.len() {
            let Subscriber { connection: key, index } = self.topics[at].subscribers[nth];
            let connection = &mut self.slots[key].connection;
            if connection.state(index) == Some(ChannelState::Live) {
                connection.set_state(index, ChannelState::Behind, &self.context);
                self.advance(key);
            }
        }
    }

    /// Returns whether a long poll has, or is about to be sent, all events until now.
    pub(super) fn has_caught_up(&self, key: usize) -> bool {
        self.slots.get(key).is_some_and(|slot| slot.connection.is_long_poll()) && self.is_live(key)
    }

    /// Returns whether a connection has, or is about to be sent, all events until now. A channel whose subscription is awaited
    /// is live, but its log is read after that.
    fn is_live(&self, key: usize) -> bool {
        self.slots[key].connection.subscriptions().iter().all(|subscription| {
            let topic = &self.topics[subscription.topic];
            subscription.state == ChannelState::Live && (topic.subscribed || !topic.awaited)
        })
    }

    /// Observes how long a connection took from its request until it is live in every channel. Once.
    pub(super) fn observe_live(&mut self, key: usize) {
        if self.slots[key].connection.is_connecting() && self.is_live(key) {
            self.slots[key].connection.is_connected(&self.context);
        }
    }

    /// Continues the catch-up of a connection, if its client has received all queued data.
    pub(super) fn advance(&mut self, key: usize) {
        let connection = &self.slots[key].connection;
        if !connection.is_locating() && connection.wants_more() {
            self.catch_up(key);
        }
    }

    /// Continues the catch-up in one channel after another, within the limit of pages for one client.
    pub(super) fn catch_up(&mut self, key: usize) {
        for _ in 0..self.slots[key].connection.channels() {
            let connection = &mut self.slots[key].connection;
            if !connection.is_behind()
                || connection.reads() >= READS_AT_ONCE
                || connection.is_full(&self.context)
            {
                return;
            }
            let index = connection.next_turn();
            if connection.state(index) == Some(ChannelState::Behind) {
                self.step(key, index);
            }
        }
    }

    /// Makes a connection live with the window, or starts a log read.
    fn step(&mut self, key: usize, index: usize) {
        let connection = &mut self.slots[key].connection;
        let subscription = connection.subscription(index);
        let (at, position, awaits_log) =
            (subscription.topic, subscription.position, subscription.awaits_log());
        // Once the channel is subscribed, the log is read in any case: a read before that would be repeated.
        let takes_tip = connection.takes_tip(index);
        let topic = &mut self.topics[at];
        if !topic.subscribed && (takes_tip || self.is_connected) {
            topic.awaited |= !takes_tip;
            connection.set_state(index, ChannelState::Live, &self.context);
            return self.observe_live(key);
        }
        self.context.enter(self.topics[at].namespace);
        let rest = self.topics[at].window.after(position).filter(|_| !awaits_log);
        if rest.map(|rest| connection.queue_entries(index, rest, &self.context)).is_some() {
            connection.set_state(index, ChannelState::Live, &self.context);
            self.mark(key);
            return self.observe_live(key);
        }
        connection.set_state(index, ChannelState::Reading, &self.context);
        self.read_log(at, LogQuery::Page(position), Subscriber { connection: key, index });
    }
}
