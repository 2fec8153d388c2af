//! What all streams together have got.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// How far the streams have come with events that every one of them gets. Events are known by their place in a stream:
/// what the first event of one stream is, is the first of each.
#[derive(Debug)]
pub(super) struct Reach {
    streams: u64,
    /// How many events every stream has got.
    complete: u64,
    /// How many streams have got each of those after that. As long as the number of events in flight.
    have: VecDeque<u64>,
}

impl Reach {
    pub(super) fn new(streams: usize) -> Self {
        Self { streams: streams as u64, complete: 0, have: VecDeque::new() }
    }

    /// A stream that had got `before` events has got `count` more.
    fn got(&mut self, before: u64, count: u64) {
        for event in before..before + count {
            let Some(at) = event.checked_sub(self.complete).and_then(|at| usize::try_from(at).ok()) else {
                continue;
            };
            if self.have.len() <= at {
                self.have.resize(at + 1, 0);
            }
            self.have[at] += 1;
            while self.have.front() == Some(&self.streams) {
                self.have.pop_front();
                self.complete += 1;
            }
        }
    }
}

/// The longest delay that is told from longer ones: an hour, in microseconds.
const LONGEST: u64 = 3600 * 1_000_000;

/// The sums of a run.
#[derive(Debug)]
pub(super) struct Tally {
    began: Instant,
    /// Streams whose answer is awaited.
    pub(super) opening: usize,
    /// Streams that are open.
    pub(super) open: usize,
    /// Streams that ended or were refused without that we asked for it.
    pub(super) dropped: u64,
    /// Why the last of them.
    pub(super) why: Option<String>,
    /// Events received.
    pub(super) received: u64,
    /// Bytes received, framing and all.
    pub(super) bytes: u64,
    /// For events that every stream gets.
    reach: Option<Reach>,
    /// How long events took that are stamped since `measured`.
    pub(super) delays: Histogram<u64>,
    /// None while nothing is measured.
    pub(super) measured: Option<Duration>,
}

impl Tally {
    /// Nothing yet. `reach` is for events that every stream gets.
    pub(super) fn new(reach: Option<Reach>) -> Self {
        Self {
            began: Instant::now(),
            opening: 0,
            open: 0,
            dropped: 0,
            why: None,
            received: 0,
            bytes: 0,
            reach,
            delays: Histogram::new_with_max(LONGEST, 3).expect("the bounds are valid"),
            measured: None,
        }
    }

    /// Returns the time that events are stamped with.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns how many events have reached every stream that they are for.
    pub(super) fn complete(&self) -> u64 {
        self.reach.as_ref().map_or(self.received, |reach| reach.complete)
    }

    /// A stream that had got `before` events has got `count` more.
    pub(super) fn got(&mut self, before: u64, count: u64) {
        self.received += count;
        if let Some(reach) = &mut self.reach {
            reach.got(before, count);
        }
    }

    /// An event with that stamp was read at `now`.
    pub(super) fn took(&mut self, stamp: Duration, now: Duration) {
        if self.measured.is_some_and(|measured| stamp >= measured) {
            let delay = u64::try_from(now.saturating_sub(stamp).as_micros());
            self.delays.saturating_record(delay.unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_complete_when_every_stream_has_it() {
        let mut tally = Tally::new(Some(Reach::new(2)));
        tally.got(0, 3);
        assert_eq!((tally.complete(), tally.received), (0, 3));
        tally.got(0, 1);
        assert_eq!(tally.complete(), 1);
        tally.got(1, 1);
        tally.got(3, 1);
        assert_eq!(tally.complete(), 2);
        tally.got(2, 2);
        assert_eq!((tally.complete(), tally.received), (4, 8));
    }

    #[test]
    fn only_what_is_stamped_in_the_measured_time_counts() {
        let mut tally = Tally::new(None);
        let ms = Duration::from_millis;
        tally.took(ms(5), ms(9));
        tally.measured = Some(ms(5));
        tally.took(ms(4), ms(9));
        assert_eq!(tally.delays.len(), 0);
        tally.took(ms(5), ms(9));
        assert_eq!((tally.delays.len(), tally.delays.max() / 10), (1, 400));
    }
}
