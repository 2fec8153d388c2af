//! Fan-out of one event to the connections of its topic.
//!
//! If no other messages are queued, each connection is written to as soon as the event is queued for it: the
//! connection is in the processor's caches then, and on a busy channel fetching it twice would cost more than
//! everything else. If more events are queued, they are first queued for all connections, so that several leave in
//! one write.

use std::hint::black_box;
use std::sync::Arc;
use std::task::Context;

use super::Shard;
use fanfare_telemetry::traces::FanOutSpan;

use crate::connection::LiveOutcome;
use crate::encoded_event::EncodedEvent;
use crate::log_reads::TopicKey;
use crate::topic::Subscriber;

/// Bytes that are compressed in the time in which an event is delivered to one more connection.
const COMPRESSED_BYTES_PER_DELIVERY: usize = 10;

/// An unfinished fan-out: an event that was delivered to some connections of its topic.
pub(super) struct FanOut {
    event: Arc<EncodedEvent>,
    topic: TopicKey,
    /// Subscribers before this index have received the event.
    next: usize,
    /// The span of a traced event.
    span: Option<FanOutSpan>,
}

impl Shard {
    /// Starts the fan-out of an event to the connections of the topic at `at`.
    pub(super) fn begin_fan_out(&mut self, event: Arc<EncodedEvent>, at: usize, span: Option<FanOutSpan>) {
        let topic = (at, self.topics[at].serial);
        self.fan_out = Some(FanOut { event, topic, next: 0, span });
    }

    /// Continues the fan-out, if there is one. `writes` is the number of connections that may be written to, and is
    /// reduced accordingly. Returns the number of deliveries, with compression counted in, or `None` if it must
    /// continue later.
    pub(super) fn continue_fan_out(&mut self, writes: &mut usize) -> Option<usize> {
        // If more events are queued, they leave in the same write.
        let at_once = self.messages.is_empty();
        let Some(fan_out) = &self.fan_out else { return Some(0) };
        let (event, topic) = (Arc::clone(&fan_out.event), fan_out.topic);
        if let Some(namespace) = self.topic(topic).map(|topic| topic.namespace) {
            self.context.enter(namespace);
        }
        let mut deliveries = 0_usize;
        while let Some(subscriber) = self.next_subscriber(topic) {
            if at_once && *writes == 0 {
                return None;
            }
            if at_once && deliveries.checked_rem(self.prefetch) == Some(0) {
                self.prefetch_next(topic.0);
            }
            if let Some(fan_out) = &mut self.fan_out {
                fan_out.next += 1;
            }
            deliveries += 1;
            self.deliver_to(subscriber, &event, at_once, writes);
        }
        if let Some(FanOut { span: Some(span), next, .. }) = self.fan_out.take() {
            span.delivered(next);
        }
        self.fan_out_done(topic, &event);
        Some(deliveries + event.compressed_bytes() / COMPRESSED_BYTES_PER_DELIVERY)
    }

    /// Prefetches the next connections. Between two writes nothing of a connection is in the processor's caches; this
    /// fetches several of them in parallel.
    fn prefetch_next(&self, at: usize) {
        let index = self.fan_out.as_ref().map_or(0, |fan_out| fan_out.next);
        let ahead = self.topics[at].subscribers.iter().skip(index).take(self.prefetch);
        black_box(
            ahead
                .map(|subscriber| self.slots[subscriber.connection].connection.prefetch())
                .fold(0, usize::wrapping_add),
        );
    }

    /// Returns the next subscriber. The topic may be gone by now.
    fn next_subscriber(&mut self, topic: TopicKey) -> Option<Subscriber> {
        let index = self.fan_out.as_ref()?.next;
        self.topic(topic)?.subscribers.get(index).copied()
    }

    /// Delivers an event to one connection, and writes it if `at_once`.
    fn deliver_to(
        &mut self,
        subscriber: Subscriber,
        event: &Arc<EncodedEvent>,
        at_once: bool,
        writes: &mut usize,
    ) {
        let Subscriber { connection: key, index } = subscriber;
        let Some(slot) = self.slots.get_mut(key) else { return };
        let connection = &mut slot.connection;
        match connection.receive_live(index, event, &self.context) {
            LiveOutcome::Next if at_once && connection.is_drained() && !connection.is_blocked() => {
                *writes -= 1;
                let cx = &mut Context::from_waker(&slot.waker);
                let flushed = connection.send((index, event), &self.context, &mut self.scratch, cx);
                self.after_write(key, false, flushed);
            }
            LiveOutcome::Next => {
                connection.queue_event(index, event, &self.context);
                // A blocked connection is woken when it can write.
                if connection.is_blocked() {
                    connection.count_waiting(&self.context);
                } else {
                    self.mark(key);
                }
            }
            LiveOutcome::Behind => self.advance(key),
            LiveOutcome::Skipped => {}
        }
    }

    /// Removes a subscriber of a topic. Another one moves to its index.
    pub(super) fn remove_subscriber(&mut self, at: usize, index: usize) {
        let mut index = index;
        // A subscriber that has not received the event may not move among those that have.
        if let Some(fan_out) = &mut self.fan_out
            && fan_out.topic == (at, self.topics[at].serial)
            && index < fan_out.next
        {
            fan_out.next -= 1;
            let last = fan_out.next;
            self.topics[at].subscribers.swap(index, last);
            self.store_index(at, index);
            index = last;
        }
        self.topics[at].subscribers.swap_remove(index);
        self.store_index(at, index);
    }

    /// Stores a subscriber's index in its connection.
    fn store_index(&mut self, at: usize, index: usize) {
        if let Some(&subscriber) = self.topics[at].subscribers.get(index) {
            self.slots[subscriber.connection].connection.set_index_in_topic(subscriber.index, index);
        }
    }
}
