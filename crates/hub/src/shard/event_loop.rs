//! The event loop of a shard.

use std::future::poll_fn;
use std::task::{Context, Poll};

use fanfare_broker::clock::unix_ms;
use fanfare_broker::session::CloseReason;
use tokio::time::Instant;

use super::{Shard, Timer};
use crate::connection::{Due, FlushResult};
use crate::inbox::Message;

/// Maximum number of writes before the task yields.
const WRITES_PER_TURN: usize = 256;
/// Approximate number of deliveries before queued data is written, so that a burst on one channel does not delay the
/// others.
const DELIVERIES_PER_PASS: usize = 32 * 1024;
/// Number of log reads that are handled before queued data is written: each may have events to compress.
const READS_PER_PASS: usize = 8;
/// Number of passes under continuous input before the task yields.
const PASSES_PER_TURN: usize = 8;

impl Shard {
    /// Runs until the shard is closed and the last connection has ended.
    pub(crate) async fn run(mut self) {
        // The loop polls many sockets and yields explicitly; tokio's cooperative budget would interrupt a pass.
        tokio::task::coop::unconstrained(poll_fn(|cx| self.poll_turn(cx))).await;
    }

    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..PASSES_PER_TURN {
            self.inbox.waker.register(cx.waker());
            self.context.now = Instant::now();
            let mut writes = WRITES_PER_TURN;
            let mut busy = self.take_messages(&mut writes);
            busy |= self.take_ready();
            busy |= self.take_timers(cx);
            self.start_reads();
            busy |= self.take_finished_reads(cx);
            // A fan-out over many turns must not delay other writes.
            if self.write(writes.max(WRITES_PER_TURN / 2)) || self.fan_out.is_some() {
                break;
            }
            if self.closing.is_some() && self.slots.is_empty() {
                return Poll::Ready(());
            }
            if !busy && !self.reads.can_start() {
                return Poll::Pending;
            }
        }
        // Yield: messages that arrive meanwhile leave in the same write as the queued data.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Handles the queued messages, in order. `writes` is the number of connections that may be written to meanwhile.
    fn take_messages(&mut self, writes: &mut usize) -> bool {
        if self.messages.is_empty() && self.fan_out.is_none() {
            self.overflowed |= self.inbox.take(&mut self.messages);
        }
        let busy = self.fan_out.is_some() || !self.messages.is_empty() || self.overflowed;
        let mut deliveries = 0;
        loop {
            match self.continue_fan_out(writes) {
                Some(more) => deliveries += more,
                None => return busy,
            }
            if deliveries >= DELIVERIES_PER_PASS {
                break;
            }
            let Some(message) = self.messages.pop_front() else { break };
            deliveries += 1;
            match message {
                Message::Event(event) => self.deliver(event, None),
                Message::Traced(traced) => self.deliver(traced.0, Some(traced.1)),
                Message::Up => self.is_connected = true,
                Message::Subscribed(channel) => self.subscribed(&channel),
                Message::Down => self.disconnected(),
                Message::Open(new) => self.open(*new),
                Message::End { identity, below, reason } => self.end_stream(&identity, below, reason),
                Message::Replace(replacement) => self.replace_token(*replacement),
                Message::CheckTokens => self.check_tokens(),
                Message::Drain { until, done } => self.begin_drain(until, done),
                Message::Close(reason) => self.close(reason),
            }
        }
        // After the last message of the batch: dropped events came before it, and are in the log.
        if self.messages.is_empty() && std::mem::take(&mut self.overflowed) {
            self.repair_all();
        }
        busy
    }

    fn take_ready(&mut self) -> bool {
        let mut keys = std::mem::take(&mut self.spare_keys);
        self.ready.take(&mut keys);
        let busy = !keys.is_empty();
        for waker in keys.drain(..) {
            self.poll_socket(waker.key);
        }
        self.spare_keys = keys;
        busy
    }

    /// Handles a socket that became readable or writable: the client closed its side, or can receive more.
    fn poll_socket(&mut self, key: usize) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let connection = &mut slot.connection;
        if connection.is_open() {
            let cx = &mut Context::from_waker(&slot.waker);
            if let Poll::Ready(close) = connection.poll_peer_close(cx) {
                return self.peer_closed(key, close);
            }
        }
        if self.slots[key].connection.is_blocked() || !self.slots[key].connection.is_open() {
            self.mark(key);
        }
    }

    fn take_timers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while let Poll::Ready(Some(expired)) = self.timers.poll_expired(cx) {
            busy = true;
            match expired.into_inner() {
                Timer::Connection(key) => self.check_deadlines(key),
                Timer::Retry(topic, query) => self.retry_read(topic, query),
                Timer::Unsubscribe(topic) => self.drop_topic(topic),
                Timer::ForgetFork(topic) => self.forget_fork(topic),
                Timer::Wave => self.wave(),
            }
        }
        busy
    }

    fn check_deadlines(&mut self, key: usize) {
        let caught_up = self.has_caught_up(key);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let (due, next) = slot.connection.check_deadlines(&self.context, caught_up);
        slot.timer = self.timers.insert_at(Timer::Connection(key), next);
        match due {
            Due::Nothing => {}
            Due::Heartbeat => {
                slot.connection.heartbeat_is_due(&self.context.settings);
                self.mark(key);
            }
            Due::End(reason @ CloseReason::WriteTimeout) => self.drop_connection(key, reason),
            Due::End(reason) => self.begin_end(key, reason),
            Due::Drop => {
                let reason = slot.connection.close_reason().unwrap_or(CloseReason::Closed);
                self.drop_connection(key, reason);
            }
        }
    }

    fn take_finished_reads(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        for _ in 0..READS_PER_PASS {
            let Poll::Ready((topic, query, result)) = self.reads.poll_finished(cx) else { break };
            busy = true;
            self.read_finished(topic, query, result);
            self.start_reads();
        }
        busy
    }

    /// Starts the log reads that may start.
    fn start_reads(&mut self) {
        while let Some((key, query)) = self.reads.next() {
            let Some(topic) = self.topics.get_mut(key.0).filter(|topic| topic.serial == key.1) else {
                continue;
            };
            let version = topic.version;
            let Some(read) = topic.reads.get_mut(&query).filter(|read| read.queued && !read.started) else {
                continue;
            };
            (read.version, read.started) = (version, true);
            let (channel, hints) = (topic.channel.clone(), topic.hints);
            self.context.metrics.reads.inc();
            self.reads.start(key, channel, query, hints);
        }
    }

    /// Writes to connections with queued data, at most `limit`. Returns whether some are left.
    fn write(&mut self, limit: usize) -> bool {
        // Publish the counts before any client can have received the counted events.
        self.context.publish_counts();
        self.context.now = Instant::now();
        for _ in 0..limit {
            let Some(key) = self.dirty.pop_front() else { break };
            self.written += 1;
            self.write_to(key);
        }
        self.context.publish_bytes();
        self.observe_latency();
        !self.dirty.is_empty()
    }

    /// Observes the latency of events that are written to all connections now: connections are written to in the
    /// order in which data was queued for them.
    fn observe_latency(&mut self) {
        if self.fresh.is_empty() && self.fresh_traced.is_empty() {
            return;
        }
        let now = unix_ms();
        while let Some(&(event, trace)) = self.fresh_traced.front()
            && event.written <= self.written
        {
            self.fresh_traced.pop_front();
            self.context.metrics.observe_live(event.namespace, event.published, now, Some(&trace));
        }
        while let Some(&event) = self.fresh.front()
            && event.written <= self.written
        {
            self.fresh.pop_front();
            self.context.metrics.observe_live(event.namespace, event.published, now, None);
        }
    }

    fn write_to(&mut self, key: usize) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let connection = &mut slot.connection;
        connection.clear_dirty();
        let was_blocked = connection.is_blocked();
        let flushed =
            connection.flush(&self.context, &mut self.scratch, &mut Context::from_waker(&slot.waker));
        self.after_write(key, was_blocked, flushed);
    }

    /// Handles the result of a write to a connection.
    pub(super) fn after_write(&mut self, key: usize, was_blocked: bool, flushed: FlushResult) {
        if let FlushResult::Over(reason) = flushed {
            return self.drop_connection(key, reason);
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        let connection = &mut slot.connection;
        connection.count_waiting(&self.context);
        let is_answer = connection.takes_answer();
        if connection.is_blocked() != was_blocked {
            connection.socket_changed();
        }
        if is_answer || connection.is_blocked() != was_blocked {
            // The write timeout, the next heartbeat or the end of a long poll may be earlier than the timer.
            self.timers.reset_at(&slot.timer, connection.next_check(&self.context));
        }
        if connection.is_behind() {
            self.advance(key);
        }
    }
}
