//! The end of a long poll: a stream that ends by itself once the client has an answer.

use std::time::Duration;

use tokio::time::Instant;

/// Time from the first event of an answer to its end, so that a burst is one answer.
const GATHER: Duration = Duration::from_millis(100);
/// Approximate maximum size of an answer, in bytes: a client may need it whole before it reads the first event.
const ANSWER_BYTES: usize = 1024 * 1024;
/// Interval between checks of an answer that is due, while the client has not caught up.
const CHECK: Duration = Duration::from_millis(10);

/// A long poll. An answer ends some time after its first event, or without an event after the time for which the client
/// waits, but not before the client has all earlier events.
#[derive(Debug)]
pub(crate) struct LongPoll {
    until: Instant,
    /// Bytes of the answer's events.
    bytes: usize,
    /// Whether `until` has changed since it was last asked for.
    is_changed: bool,
}

impl LongPoll {
    /// Creates a long poll that waits this long for a first event.
    pub(crate) fn new(wait: Duration) -> Self {
        Self { until: Instant::now() + wait, bytes: 0, is_changed: false }
    }

    /// Handles an event, or a gap, of this size.
    pub(crate) fn event(&mut self, now: Instant, bytes: usize) {
        self.bytes += bytes;
        let end = if self.is_large() { now } else { now + GATHER };
        if end < self.until {
            (self.until, self.is_changed) = (end, true);
        }
    }

    /// Returns whether the time of the next check has changed. Once.
    pub(crate) fn takes_change(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Returns the time of the next check; `None` if the answer is complete. `caught_up`: the client has all events until
    /// now.
    pub(crate) fn next_check(&self, now: Instant, caught_up: bool) -> Option<Instant> {
        if now < self.until {
            return Some(self.until);
        }
        (!caught_up && !self.is_large()).then(|| now + CHECK)
    }

    fn is_large(&self) -> bool {
        self.bytes >= ANSWER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_after_the_wait_or_soon_after_the_first_event() {
        let wait = Duration::from_secs(20);
        let (begun, mut poll) = (Instant::now(), LongPoll::new(wait));
        assert_eq!(poll.next_check(begun, true), Some(begun + wait));
        assert_eq!(poll.next_check(begun + wait, true), None);
        let first = begun + Duration::from_secs(5);
        poll.event(first, 10);
        assert!(poll.takes_change() && !poll.takes_change());
        // Further events do not delay the end.
        poll.event(first + GATHER / 2, 10);
        assert!(!poll.takes_change());
        assert_eq!(poll.next_check(first, true), Some(first + GATHER));
        assert_eq!(poll.next_check(first + GATHER, true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_earlier_events_unless_it_is_large() {
        let (now, mut poll) = (Instant::now(), LongPoll::new(Duration::ZERO));
        assert_eq!(poll.next_check(now, false), Some(now + CHECK));
        poll.event(now, ANSWER_BYTES - 1);
        assert_eq!(poll.next_check(now, false), Some(now + CHECK));
        poll.event(now, 1);
        assert_eq!(poll.next_check(now, false), None);
        let mut waiting = LongPoll::new(GATHER * 2);
        waiting.event(now, ANSWER_BYTES);
        assert!(waiting.takes_change());
        assert_eq!(waiting.next_check(now, false), None);
    }
}
