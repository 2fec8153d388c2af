//! What happens in a round, in order.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::{Timer, Writer};
use crate::connection::{Due, Flushed};
use crate::ending::Ending;
use crate::hub::follows::unix_ms;
use crate::hub::inbox::Message;

/// How many connections are written to before other tasks get their turn.
const WRITES_A_TURN: usize = 256;
/// How many rounds there are, while something comes in all the time, before other tasks get their turn.
const ROUNDS_A_TURN: usize = 8;

impl Writer {
    /// Runs until it is told to close and the last connection has ended.
    pub(crate) async fn run(mut self) {
        // The loop polls many sockets and yields by itself; the budget that tokio gives a task would end a round in
        // its middle.
        tokio::task::coop::unconstrained(poll_fn(|cx| self.poll_turn(cx))).await;
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS_A_TURN {
            self.inbox.waker.register(cx.waker());
            let mut busy = self.take_messages();
            busy |= self.take_woken();
            busy |= self.take_timers(cx);
            self.send_reads();
            busy |= self.take_answers(cx);
            if self.write(WRITES_A_TURN) {
                break;
            }
            if self.closing.is_some() && self.seats.is_empty() {
                return Poll::Ready(());
            }
            if !busy && !self.reads.can_send() {
                return Poll::Pending;
            }
        }
        // Others first; what comes in meanwhile leaves in the same write as what still waits.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_messages(&mut self) -> bool {
        let batch = self.inbox.take(std::mem::take(&mut self.spare_messages));
        let busy = !batch.messages.is_empty() || batch.overflowed;
        let mut messages = batch.messages;
        for message in messages.drain(..) {
            match message {
                Message::Event(delivery) => self.deliver(&delivery),
                Message::Followed(channel) => self.followed(&channel),
                Message::Down => self.lost(),
                Message::Open(stream, socket) => self.open(*stream, socket),
                Message::End { session, below, ending } => self.end_session(session, below, ending),
                Message::Drain { until, done } => self.begin_drain(until, done),
                Message::Close(ending) => self.close(ending),
            }
        }
        self.spare_messages = messages;
        if batch.overflowed {
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

    /// A socket became readable or writable: the client left, or takes more.
    fn look_at_socket(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(key) else { return };
        let connection = &mut seat.connection;
        if connection.ending.is_none() {
            let cx = &mut Context::from_waker(&seat.waker);
            if connection.poll_closed(cx).is_ready() {
                return self.drop_connection(key, Ending::Closed);
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
                Timer::Retry(topic, ask) => self.reads.ask(topic, ask),
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
                seat.connection.beat();
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
        while let Poll::Ready((topic, ask, answer)) = self.reads.poll_answer(cx) {
            busy = true;
            self.answered(topic, ask, answer);
            self.send_reads();
        }
        busy
    }

    /// Sends the questions that may be sent now.
    fn send_reads(&mut self) {
        while let Some((key, ask)) = self.reads.next() {
            let Some(topic) = self.topics.get_mut(key.0).filter(|topic| topic.serial == key.1) else {
                continue;
            };
            let version = topic.version;
            let Some(read) = topic.reads.iter_mut().find(|read| read.ask == ask) else { continue };
            read.version = version;
            let channel = topic.channel.clone();
            self.around.metrics.reads.inc();
            self.reads.send(key, channel, ask);
        }
    }

    /// Writes to connections for which something waits, at most `limit` of them. Answers whether some are left.
    fn write(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(key) = self.dirty.pop_front() else { break };
            self.write_to(key);
        }
        if self.dirty.is_empty() && !self.fresh.is_empty() {
            let now = unix_ms();
            for at in self.fresh.drain(..) {
                #[expect(clippy::cast_precision_loss, reason = "a latency in milliseconds is small")]
                self.around.metrics.latency.observe(now.saturating_sub(at) as f64 / 1000.0);
            }
        }
        !self.dirty.is_empty()
    }

    fn write_to(&mut self, key: usize) {
        let Some(seat) = self.seats.get_mut(key) else { return };
        let connection = &mut seat.connection;
        connection.dirty = false;
        let was_blocked = connection.clock.is_blocked();
        let flushed = connection.flush(&mut self.scratch, &mut Context::from_waker(&seat.waker));
        match flushed {
            Flushed::Over(ending) => return self.drop_connection(key, ending),
            Flushed::Full if !was_blocked => {
                // The write time-out may come before what the timer was set for.
                let (_, next) = connection.clock.look(&self.around.settings);
                self.timers.reset_at(&seat.timer, next);
            }
            Flushed::Full | Flushed::Done => {}
        }
        let connection = &self.seats[key].connection;
        if connection.behind > 0 && connection.wants_more() {
            for index in 0..connection.follows.len() {
                self.advance(key, index);
            }
        }
    }
}
