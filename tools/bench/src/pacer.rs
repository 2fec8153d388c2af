//! The timetable of an open loop.

use std::time::Duration;

use super::measurement::number;

/// The least time between two looks at the timetable; what became due meanwhile is sent at once. A wake-up for each event
/// costs more than the event: at some ten thousand a second the load would fill its core and measure itself. Events wait
/// half of this in the middle, and their delays say so.
const TICK: Duration = Duration::from_micros(200);

/// Which events are due, and when to look again. Times are those that events are stamped with.
#[derive(Debug)]
pub(super) struct Pacer {
    /// When the first event is due.
    began: Duration,
    /// How many were taken.
    taken: u64,
    /// Nothing is sent before.
    next_tick: Duration,
}

impl Pacer {
    /// Creates a timetable that begins now.
    pub(super) fn new(now: Duration) -> Self {
        Self { began: now, taken: 0, next_tick: now }
    }

    /// Returns whether it is time to look.
    pub(super) fn ticks(&self, now: Duration) -> bool {
        now >= self.next_tick
    }

    /// Takes the next event if it is due by `now`; when it was due.
    pub(super) fn take(&mut self, rate: f64, now: Duration) -> Option<Duration> {
        let due = self.due(rate);
        (due <= now).then(|| {
            self.taken += 1;
            due
        })
    }

    /// Ends a tick that began at `now`; how long it is until the next.
    pub(super) fn rest(&mut self, rate: f64, now: Duration) -> Duration {
        self.next_tick = self.due(rate).max(now + TICK);
        self.next_tick.saturating_sub(now)
    }

    /// Returns how many events are due by `end` and not taken: none only if [`take`](Self::take) has none.
    pub(super) fn left(&self, rate: f64, end: Duration) -> u64 {
        let Some(late) = end.checked_sub(self.due(rate)) else { return 0 };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts stay far below 2^52, and a time is not negative"
        )]
        let more = (late.as_secs_f64() * rate) as u64;
        more + 1
    }

    fn due(&self, rate: f64) -> Duration {
        self.began + Duration::from_secs_f64(number(self.taken) / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns all that are due, each by when it was.
    fn take_all(pacer: &mut Pacer, now: Duration) -> Vec<u128> {
        std::iter::from_fn(|| pacer.take(10_000.0, now)).map(|due| due.as_micros()).collect()
    }

    #[test]
    fn what_became_due_since_the_last_tick_is_sent_in_one_with_its_own_times() {
        let us = Duration::from_micros;
        let mut pacer = Pacer::new(us(1000));
        assert_eq!(take_all(&mut pacer, us(1000)), [1000]);
        assert_eq!(pacer.rest(10_000.0, us(1000)), TICK);
        assert!(!pacer.ticks(us(1199)), "an event is due, but not the tick");
        assert!(pacer.ticks(us(1200)));
        assert_eq!(take_all(&mut pacer, us(1200)), [1100, 1200]);
        pacer.rest(10_000.0, us(1200));
        assert_eq!(pacer.left(10_000.0, us(1500)), 3);
        assert_eq!(take_all(&mut pacer, us(1550)), [1300, 1400, 1500], "a load that is late says so");
        assert_eq!(pacer.left(10_000.0, us(1500)), 0);
    }

    #[test]
    fn nothing_is_left_when_there_is_nothing_to_take_whatever_is_rounded() {
        for rate in [1.0 / 3.0, 7.0, 333.3, 27_426.7, 1e6] {
            for end in [1, 333_333, 1_000_000, 1_999_999].map(Duration::from_micros) {
                let mut pacer = Pacer::new(Duration::from_nanos(987_654_321));
                let end = end + pacer.began;
                let left = pacer.left(rate, end);
                let taken = std::iter::from_fn(|| pacer.take(rate, end)).count() as u64;
                assert_eq!(pacer.left(rate, end), 0, "{rate} until {end:?}");
                assert!(left.abs_diff(taken) <= 1, "{left} were left and {taken} taken");
            }
        }
    }

    #[test]
    fn a_slow_loop_keeps_to_its_times_and_to_no_tick() {
        let mut pacer = Pacer::new(Duration::ZERO);
        assert!(pacer.take(10.0, Duration::ZERO).is_some());
        assert_eq!(pacer.rest(10.0, Duration::from_micros(3)), Duration::from_micros(99_997));
    }
}
