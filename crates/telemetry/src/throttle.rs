//! Rate limit of log events that input can cause.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Admits the first events, then one per interval, and counts the suppressed ones.
///
/// One for each such log event in the source. May be a `static`.
#[derive(Debug)]
pub struct Throttle {
    /// Size of the burst.
    burst: u32,
    /// Interval after which one more event is admitted.
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the full burst is available again.
    whole: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// Creates a throttle for events that differ from each other, like malformed messages: ten at once, then one per
    /// second.
    pub const fn of_events() -> Self {
        Self::new(10, Duration::from_secs(1))
    }

    /// Creates a throttle for a lasting condition: the first event, then one per minute.
    pub const fn of_a_condition() -> Self {
        Self::new(1, Duration::from_mins(1))
    }

    /// Creates a throttle for this many events per second on average, at least one: the events of a minute at once.
    pub const fn per_second(rate: u32) -> Self {
        let rate = if rate == 0 { 1 } else { rate };
        let every = Duration::from_nanos(1_000_000_000 / rate as u64);
        Self::new(rate.saturating_mul(60), every)
    }

    /// Returns the size of the burst.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, state: Mutex::new(State { whole: None, held_back: 0 }) }
    }

    /// Returns `Some` if the event may be logged, with the number of events suppressed since the last one.
    pub fn admit(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.state();
        let whole = state.whole.map_or(now, |whole| whole.max(now));
        if whole - now > self.every * (self.burst - 1) {
            state.held_back += 1;
            return None;
        }
        state.whole = Some(whole + self.every);
        Some(std::mem::take(&mut state.held_back))
    }

    /// Returns whether the full burst is available.
    pub(crate) fn is_whole(&self) -> bool {
        self.state().whole.is_none_or(|whole| whole <= Instant::now())
    }

    /// Returns the number of events suppressed since the last one that was admitted, which no later event tells.
    pub(crate) fn take_held_back(&self) -> u64 {
        std::mem::take(&mut self.state().held_back)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves a consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::of_a_condition()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_is_logged_once_a_minute_with_the_count_of_the_others() {
        let throttle = Throttle::of_a_condition();
        assert_eq!(throttle.admit(), Some(0));
        assert_eq!((throttle.admit(), throttle.admit()), (None, None));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(throttle.admit(), Some(2));
        assert_eq!(throttle.admit(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_events_is_logged_once_a_second_after_the_first_ten() {
        let throttle = Throttle::of_events();
        let admitted = |count: usize| (0..count).filter_map(|_| throttle.admit()).collect::<Vec<_>>();
        assert_eq!(admitted(1000), [0; 10]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(admitted(1000), [990]);
        tokio::time::advance(Duration::from_mins(1)).await;
        let after = admitted(1000);
        assert_eq!((after.len(), after[0]), (10, 999));
    }
}
