//! The event loop of a shard.

use std::future::poll_fn;
use std::task::{Context, Poll};

use fanfare_broker::clock::unix_ms;
use tokio::time::Instant;

use super::{Timer, Writer};
use crate::connection::{Due, Flushed};
use crate::ending::Ending;
use crate::hub::inbox::Message;

/// Maximum number of writes before the task yields.
const WRITES_A_TURN: usize = 256;
/// Approximate number of deliveries before queued data is written, so that a burst on one channel does not delay the
/// others.
const OFFERS_A_ROUND: usize = 32 * 1024;
/// Number of log reads that are handled before queued data is written: each may have events to compress.
const ANSWERS_A_ROUND: usize = 8;
/// Number of rounds under continuous input before the task yields.
const ROUNDS_A_TURN: usize = 8;

impl Writer {
    /// Runs until the shard is closed and the last connection has ended.
    pub(crate) async fn run(mut self) {
        // The loop polls many sockets and yields explicitly; tokio's cooperative budget would interrupt a round.
        tokio::task::coop::unconstrained(poll_fn(|cx| self.poll_turn(cx))).await;
    }

    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS_A_TURN {
            self.inbox.waker.register(cx.waker());
            self.around.now = Instant::now();
            let mut writes = WRITES_A_TURN;
            let mut busy = self.take_messages(&mut writes);
            busy |= self.take_woken();
            busy |= self.take_timers(cx);
            self.send_reads();
            busy |= self.take_answers(cx);
            // A fan-out over many turns must not delay other writes.
            if self.write(writes.max(WRITES_A_TURN / 2)) || self.offering.is_some() {
                break;
            }
            if self.closing.is_some() && self.seats.is_empty() {
                return Poll::Ready(());
            }
            if !busy && !self.reads.can_send() {
                return Poll::Pending;
            }
        }
        // Yield: messages that arrive meanwhile leave in the same write as the queued data.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Handles the queued messages, in order. `writes` is the number of connections that may be written to meanwhile.
    fn take_messages(&mut self, writes: &mut usize) -> bool {
        if self.messages.is_empty() && self.offering.is_none() {
            self.overflowed |= self.inbox.take(&mut self.messages);
        }
        let busy = self.offering.is_some() || !self.messages.is_empty() || self.overflowed;
        let mut offers = 0;
        loop {
            match self.offer(writes) {
                Some(more) => offers += more,
                None => return busy,
            }
            if offers >= OFFERS_A_ROUND {
                break;
            }
            let Some(message) = self.messages.pop_front() else { break };
            offers += 1;
            match message {
                Message::Event(delivery) => self.deliver(delivery),
                Message::Followed(channel) => self.followed(&channel),
                Message::Down => self.lost(),
                Message::Open(stream, socket) => self.open(*stream, socket),
                Message::End { identity, below, ending } => self.end_stream(&identity, below, ending),
                Message::Drain { until, done } => self.begin_drain(until, done),
                Message::Close(ending) => self.close(ending),
            }
        }
        // After the last message of the batch: dropped events came before it, and are in the log.
        if self.messages.is_empty() && std::mem::take(&mut self.overflowed) {
            self.repair_all();
        }
        busy
    }

    fn take_woken(&mut self) -> bool {
        let mut keys = std::mem::take(&mut self.spare_keys);
        self.woken.take(&mut keys);
        let busy = !keys.is_empty();
        for waker in keys.drain(..) {
            self.look_at_socket(waker.key);
        }
        self.spare_keys = keys;
        busy
    }

    /// Handles a socket that became readable or writable: the client left, or can receive more.
    fn look_at_socket(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(key) else { return };
        let connection = &mut seat.connection;
        if connection.ending.is_none() {
            let cx = &mut Context::from_waker(&seat.waker);
            if let Poll::Ready(left) = connection.poll_left(cx) {
                return self.left(key, left);
            }
        }
        if self.seats[key].connection.clock.is_blocked() || self.seats[key].connection.ending.is_some() {
            self.mark(key);
        }
    }

    fn take_timers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while let Poll::Ready(Some(expired)) = self.timers.poll_expired(cx) {
            busy = true;
            match expired.into_inner() {
                Timer::Connection(key) => self.look_at_clock(key),
                Timer::Retry(topic, ask) => self.ask_again(topic, ask),
                Timer::Unfollow(topic) => self.drop_topic(topic),
                Timer::Wave => self.wave(),
            }
        }
        busy
    }

    fn look_at_clock(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(key) else { return };
        let (due, next) = seat.connection.clock.look(&self.around.settings);
        seat.timer = self.timers.insert_at(Timer::Connection(key), next);
        match due {
            Due::Nothing => {}
            Due::Beat => {
                seat.connection.heartbeat_is_due(&self.around.settings);
                self.mark(key);
            }
            Due::End(ending @ Ending::WriteTimeout) => self.drop_connection(key, ending),
            Due::End(ending) => self.begin_end(key, ending),
            Due::Drop => {
                let ending = seat.connection.ending.unwrap_or(Ending::Closed);
                self.drop_connection(key, ending);
            }
        }
    }

    fn take_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        for _ in 0..ANSWERS_A_ROUND {
            let Poll::Ready((topic, ask, answer)) = self.reads.poll_answer(cx) else { break };
            busy = true;
            self.answered(topic, ask, answer);
            self.send_reads();
        }
        busy
    }

    /// Starts the log reads that may start.
    fn send_reads(&mut self) {
        while let Some((key, ask)) = self.reads.next() {
            let Some(topic) = self.topics.get_mut(key.0).filter(|topic| topic.serial == key.1) else {
                continue;
            };
            let version = topic.version;
            let Some(read) = topic.reads.get_mut(&ask).filter(|read| read.asked && !read.sent) else {
                continue;
            };
            (read.version, read.sent) = (version, true);
            let (channel, hints) = (topic.channel.clone(), topic.hints);
            self.around.metrics.reads.inc();
            self.reads.send(key, channel, ask, hints);
        }
    }

    /// Writes to connections with queued data, at most `limit`. Returns whether some are left.
    fn write(&mut self, limit: usize) -> bool {
        // Publish the counts before any client can have received the counted events.
        self.around.tell_counts();
        self.around.now = Instant::now();
        for _ in 0..limit {
            let Some(key) = self.dirty.pop_front() else { break };
            self.written += 1;
            self.write_to(key);
        }
        self.observe_latency();
        !self.dirty.is_empty()
    }

    /// Observes the latency of events that are written to all connections now: connections are written to in the
    /// order in which data was queued for them.
    fn observe_latency(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let now = unix_ms();
        while let Some(&(then, at)) = self.fresh.front()
            && then <= self.written
        {
            self.fresh.pop_front();
            #[expect(clippy::cast_precision_loss, reason = "a latency in milliseconds is small")]
            self.around.metrics.latency.observe(now.saturating_sub(at) as f64 / 1000.0);
        }
    }

    fn write_to(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(key) else { return };
        let connection = &mut seat.connection;
        connection.dirty = false;
        let was_blocked = connection.clock.is_blocked();
        let flushed =
            connection.flush(&self.around, &mut self.scratch, &mut Context::from_waker(&seat.waker));
        self.after_write(key, was_blocked, flushed);
    }

    /// Handles the result of a write to a connection.
    pub(super) fn after_write(&mut self, key: usize, was_blocked: bool, flushed: Flushed) {
        if let Flushed::Over(ending) = flushed {
            return self.drop_connection(key, ending);
        }
        let Some(seat) = self.seats.get_mut(key) else { return };
        let connection = &mut seat.connection;
        connection.count_waiting(&self.around);
        if connection.clock.is_blocked() != was_blocked {
            connection.socket_changed();
            // The write timeout, or the next heartbeat, may be earlier than the timer.
            self.timers.reset_at(&seat.timer, connection.clock.next_look(&self.around.settings));
        }
        if connection.behind > 0 {
            self.advance(key);
        }
    }
}
