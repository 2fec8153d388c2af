//! What a shard reads of a connection, and sets.

use fanfare_broker::session::CloseReason;
use tokio::time::Instant;

use super::{ChannelState, Connection, Due, ShardContext, Subscription};
use crate::stream::Identity;

impl Connection {
    /// Returns the number that distinguishes the connection from earlier ones with the same key.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the epoch of the claim; 0 without one.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whether the end has not started.
    pub(crate) fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    /// Returns the close reason once the end has started.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.closing
    }

    /// Returns whether the socket is full.
    pub(crate) fn is_blocked(&self) -> bool {
        self.deadlines.is_blocked()
    }

    // ---- channels

    /// Sets the channels, in ascending order of tags.
    pub(crate) fn subscribe(&mut self, subscriptions: Vec<Subscription>) {
        self.locating = u32::try_from(subscriptions.len()).unwrap_or(u32::MAX);
        self.subscriptions = subscriptions.into();
    }

    /// Returns the number of channels.
    pub(crate) fn channels(&self) -> usize {
        self.subscriptions.len()
    }

    /// Returns the subscription of the channel at `index`, which must exist.
    pub(crate) fn subscription(&self, index: usize) -> &Subscription {
        &self.subscriptions[index]
    }

    /// Returns the state of the channel at `index`.
    pub(crate) fn state(&self, index: usize) -> Option<ChannelState> {
        self.subscriptions.get(index).map(|subscription| subscription.state)
    }

    /// Returns each channel's topic, and the connection's index among the topic's subscribers.
    pub(crate) fn places_in_topics(&self) -> Vec<(usize, usize)> {
        self.subscriptions
            .iter()
            .map(|subscription| (subscription.topic, subscription.index_in_topic))
            .collect()
    }

    /// Sets the connection's index among the subscribers of the topic of the channel at `index`.
    pub(crate) fn set_index_in_topic(&mut self, index: usize, index_in_topic: usize) {
        if let Some(subscription) = self.subscriptions.get_mut(index) {
            subscription.index_in_topic = index_in_topic;
        }
    }

    /// Starts the channel at `index` at the end of its log.
    pub(crate) fn begins_at_tip(&mut self, index: usize) {
        self.subscriptions[index].begins_at_tip();
    }

    /// Returns whether nothing was read in the channel at `index` since the start at the end of the log. Once.
    pub(crate) fn takes_tip(&mut self, index: usize) -> bool {
        self.subscriptions[index].takes_tip()
    }

    /// Returns whether the start of a channel is not located yet.
    pub(crate) fn is_locating(&self) -> bool {
        self.locating > 0
    }

    /// Returns when the request began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Returns whether the connection has not been live in every channel yet.
    pub(crate) fn is_connecting(&self) -> bool {
        self.connecting.is_some()
    }

    /// Records that the connection is live in every channel.
    pub(crate) fn is_connected(&mut self, context: &ShardContext) {
        if let Some(begun) = self.connecting.take() {
            context.metrics.connect.observe((context.now - begun).as_secs_f64());
        }
    }

    /// Returns whether a channel is [`ChannelState::Behind`].
    pub(crate) fn is_behind(&self) -> bool {
        self.behind > 0
    }

    /// Returns whether the stream ends by itself, once the client has an answer.
    pub(crate) fn is_long_poll(&self) -> bool {
        self.long_poll.is_some()
    }

    /// Returns the channels.
    pub(crate) fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// Returns the number of log reads in progress.
    pub(crate) fn reads(&self) -> u32 {
        self.reading
    }

    /// Returns the index of the channel whose turn it is to catch up. There must be a channel.
    pub(crate) fn next_turn(&mut self) -> usize {
        let index = self.next_behind % self.subscriptions.len();
        self.next_behind = index + 1;
        index
    }

    // ---- timers and writes

    /// Returns the time of the next check of the deadlines.
    pub(crate) fn next_check(&self, context: &ShardContext) -> Instant {
        // At once, if something is due already, or may be.
        match self.check_deadlines(context, true) {
            (Due::Nothing, next) => next,
            _ => Instant::now(),
        }
    }

    /// Returns the action that is due, and the time of the next check after it. `caught_up`: the client has, or is about to
    /// be sent, all events until now. Only the end of a long poll depends on it.
    pub(crate) fn check_deadlines(&self, context: &ShardContext, caught_up: bool) -> (Due, Instant) {
        let (due, next) = self.deadlines.check(&context.settings);
        let Some(poll) = self.long_poll.as_ref().filter(|_| self.is_open()) else { return (due, next) };
        match poll.next_check(Instant::now(), caught_up) {
            Some(answer) => (due, next.min(answer)),
            None if due == Due::Nothing => (Due::End(CloseReason::Polled), next),
            // At once after this.
            None => (due, Instant::now()),
        }
    }

    /// Handles a client that has closed its sending half.
    pub(crate) fn half_closed(&mut self) {
        self.deadlines.half_closed();
    }

    /// Records that the connection is in its shard's list of connections to write to. Returns whether it was not.
    pub(crate) fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    /// Records that the connection was taken from that list.
    pub(crate) fn clear_dirty(&mut self) {
        self.dirty = false;
    }
}
