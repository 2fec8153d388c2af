//! Events of live topics, and the state of their subscriptions.

use std::sync::Arc;

use fanfare_config::bytes;
use fanfare_protocol::Channel;
use fanfare_telemetry::Throttle;
use fanfare_telemetry::traces::FanOutSpan;

use super::{Fresh, Shard, Timer};
use crate::connection::ChannelState;
use crate::encoded_event::EncodedEvent;
use crate::fork;
use crate::log_reads::TopicKey;
use crate::metrics::SuspectReason;

impl Shard {
    /// Handles an event of a live topic, with the span of its fan-out if it is traced.
    pub(super) fn deliver(&mut self, event: Arc<EncodedEvent>, span: Option<FanOutSpan>) {
        let Some(&at) = self.by_channel.get(&event.channel) else { return };
        if let Some(link) = event.link {
            if self.topics[at].is_ahead(link, self.reads.latest(self.context.now)) {
                return self.distrust(at, SuspectReason::Ahead);
            }
            if self.topics[at].contradicts(link) {
                if self.topics[at].contradicted_by(link, self.context.now) {
                    self.timers.insert(Timer::ForgetFork((at, self.topics[at].serial)), fork::LIFETIME);
                }
                self.report_suspect(at, SuspectReason::Chain);
                self.repair(at);
            } else if self.topics[at].is_stray(link) {
                self.report_suspect(at, SuspectReason::Chain);
            }
            let topic = &mut self.topics[at];
            topic.record_live(link.position);
            let settings = &self.context.settings;
            let most = bytes(settings.recent_bytes);
            // A window set by a log read may be ahead of the live topic, but other connections still need this event.
            topic.window.add(link, &event, settings.recent_events, most);
        }
        self.begin_fan_out(event, at, span);
    }

    /// Forgets a topic's fork if it is old, or starts the timer again.
    pub(super) fn forget_fork(&mut self, key: TopicKey) {
        let now = self.context.now;
        if let Some(left) = self.topic(key).and_then(|topic| topic.forget_fork(now)) {
            self.timers.insert(Timer::ForgetFork(key), left);
        }
    }

    /// Ignores a suspect live event, and lets every connection read the log: if the event is genuine, it is read
    /// there.
    fn distrust(&mut self, at: usize, reason: SuspectReason) {
        let topic = &mut self.topics[at];
        topic.invalidate(topic.subscribed);
        self.report_suspect(at, reason);
        self.repair(at);
    }

    /// Handles a live event that the log does not have: connections that received it read the log.
    pub(super) fn refuted(&mut self, at: usize) {
        self.report_suspect(at, SuspectReason::Log);
        self.repair(at);
    }

    /// Counts and logs a suspect live event. After a failover, or after events of this shard were dropped, a genuine
    /// event may look forged: the log decides.
    pub(super) fn report_suspect(&self, at: usize, reason: SuspectReason) {
        static LOG: Throttle = Throttle::of_events();
        self.context.metrics.count_suspect(reason);
        if let Some(held_back) = LOG.admit() {
            let (channel, reason) = (&self.topics[at].channel, reason.as_str());
            tracing::warn!(%channel, reason, held_back, "suspect live event: forged, or Redis lost data; checking the log");
        }
    }

    /// Completes the fan-out of an event.
    pub(super) fn fan_out_done(&mut self, topic: TopicKey, event: &EncodedEvent) {
        if self.topic(topic).is_none_or(|topic| topic.subscribers.is_empty()) {
            return;
        }
        self.shrink_window(topic.0);
        if let Some(link) = event.link {
            let fresh = Fresh {
                written: self.written_then(),
                published: link.position.ms,
                namespace: self.topics[topic.0].namespace,
            };
            match event.sampled() {
                None => self.fresh.push_back(fresh),
                Some(&trace) => self.fresh_traced.push_back((fresh, trace)),
            }
        }
    }

    /// Shrinks the window of a channel whose only connection is live to its tip. A window serves connections that are
    /// behind and new ones; most channels have one live connection, and their windows would use most of the memory.
    fn shrink_window(&mut self, at: usize) {
        let topic = &mut self.topics[at];
        if let [only] = topic.subscribers[..]
            && self.slots[only.connection].connection.state(only.index) == Some(ChannelState::Live)
        {
            topic.window.shrink();
        }
    }

    /// Handles the confirmation of a subscription. Events that were published before are in the log.
    pub(super) fn subscribed(&mut self, channel: &Channel) {
        let Some(&at) = self.by_channel.get(channel) else { return };
        self.topics[at].invalidate(true);
        self.topics[at].awaited = false;
        self.repair(at);
        // The broker is available again: failed reads are retried at once.
        let key = (at, self.topics[at].serial);
        let failed = self.topics[at].reads.iter().filter(|(_, read)| !read.queued).map(|(query, _)| *query);
        for query in failed.collect::<Vec<_>>() {
            self.retry_read(key, query);
        }
    }

    /// Handles the loss of the subscriber connection. Connections do not change until their channels are subscribed
    /// again, except those that have waited for that since they opened: they read the log now.
    pub(super) fn disconnected(&mut self) {
        self.is_connected = false;
        let mut awaited = Vec::new();
        for (at, topic) in &mut self.topics {
            topic.invalidate(false);
            if std::mem::take(&mut topic.awaited) {
                awaited.push(at);
            }
        }
        for at in awaited {
            self.repair(at);
        }
    }
}
