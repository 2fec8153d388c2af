//! Upper bound of the clock that assigns positions.
//!
//! Positions are times of Redis. Each page of a log has the time at which it was read, from which the node counts on
//! without comparing its own clock with that of Redis.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

/// Tolerance for drift and steps of the clock of Redis since the last page, in milliseconds. A position beyond it
/// causes a log read, whose page has the time.
const SLACK_MS: i64 = 50;
/// Time after which a page is needed before the clock is relied on, in milliseconds.
const FRESH_MS: i64 = 1000;
/// Value before the first page.
const UNKNOWN: i64 = i64::MIN;

/// The clock. Lives as long as the node.
#[derive(Debug)]
pub(crate) struct LogClock {
    started: Instant,
    /// Upper bound of the Unix time at the node's start, in milliseconds.
    offset: AtomicI64,
    /// When it was set, in milliseconds since the node's start.
    set_at: AtomicI64,
}

impl LogClock {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), offset: AtomicI64::new(UNKNOWN), set_at: AtomicI64::new(0) }
    }

    /// Sets the clock from the time of a page that was requested at `asked`, which was before that time.
    pub(crate) fn set(&self, asked: Instant, unix_ms: u64) {
        let unix_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        let asked = self.elapsed_ms(asked);
        self.offset.store(unix_ms.saturating_sub(asked), Ordering::Relaxed);
        self.set_at.store(asked, Ordering::Relaxed);
    }

    /// Returns the upper bound of the clock at a moment, if there was a page shortly before.
    pub(crate) fn fresh(&self, at: Instant) -> Option<u64> {
        self.latest(at).filter(|_| self.age_ms(at) < FRESH_MS)
    }

    /// Returns whether the next page should have the time, so that the clock stays fresh.
    pub(crate) fn is_due(&self, at: Instant) -> bool {
        self.offset.load(Ordering::Relaxed) == UNKNOWN || self.age_ms(at) >= FRESH_MS / 2
    }

    fn age_ms(&self, at: Instant) -> i64 {
        self.elapsed_ms(at).saturating_sub(self.set_at.load(Ordering::Relaxed))
    }

    /// Returns the upper bound of the clock at a moment, in Unix milliseconds; `None` before the first page.
    pub(crate) fn latest(&self, at: Instant) -> Option<u64> {
        let offset = self.offset.load(Ordering::Relaxed);
        if offset == UNKNOWN {
            return None;
        }
        u64::try_from(offset.saturating_add(self.elapsed_ms(at)).saturating_add(SLACK_MS)).ok()
    }

    fn elapsed_ms(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_latest_time_goes_on_from_the_newest_page() {
        let clock = LogClock::new();
        assert_eq!(clock.latest(Instant::now()), None);
        assert!(clock.is_due(Instant::now()));
        tokio::time::advance(Duration::from_secs(5)).await;
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(300)).await;
        clock.set(asked, 1_000_000);
        assert_eq!(clock.latest(Instant::now()), Some(1_000_350), "the answer was 300 ms on its way at most");
        assert!(!clock.is_due(Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(clock.is_due(Instant::now()));
        assert_eq!(clock.latest(Instant::now()), Some(1_001_350));
        assert_eq!(clock.fresh(Instant::now()), None, "a step of the clock would not be noticed");
        clock.set(Instant::now(), 900_000);
        assert_eq!(clock.fresh(Instant::now()), Some(900_050));
        assert_eq!(clock.latest(Instant::now()), Some(900_050), "the clock of Redis was put back");
    }
}
