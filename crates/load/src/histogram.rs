//! Durations in buckets that are at most two percent wide.

use std::time::Duration;

/// Buckets within one doubling.
const STEPS: u64 = 64;
/// Doublings of a microsecond: enough for a day.
const DOUBLINGS: u64 = 32;

/// Counts durations by their length in microseconds. Takes the same memory however many it counts.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = usize::try_from(STEPS * DOUBLINGS).unwrap_or_default();
        Self { counts: vec![0; buckets], total: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let last = self.counts.len() - 1;
        let at = usize::try_from(index(micros)).unwrap_or(last).min(last);
        self.counts[at] += 1;
        self.total += 1;
        self.longest = self.longest.max(duration);
    }

    /// Returns how many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the longest.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// At least this part of all, from 0 to 1, is not longer; zero if there are none.
    pub fn percentile(&self, part: f64) -> Duration {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(upper(at as u64)).min(self.longest);
            }
        }
        self.longest
    }
}

/// The first `STEPS` buckets are a microsecond wide; after that each doubling has as many.
fn index(micros: u64) -> u64 {
    if micros < STEPS {
        return micros;
    }
    let doubling = u64::from(micros.ilog2() - STEPS.ilog2());
    (doubling + 1) * STEPS + (micros >> doubling) - STEPS
}

/// Returns the longest that falls into a bucket.
fn upper(index: u64) -> u64 {
    if index < STEPS {
        return index;
    }
    let doubling = index / STEPS - 1;
    ((index % STEPS + STEPS + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_falls_into_a_narrow_bucket() {
        for micros in (0..5000).chain((1..40).map(|n| 1 << n.min(37))).chain([63, 64, 65, 127, 128, 999_999])
        {
            let top = upper(index(micros));
            assert!(top >= micros && top - micros <= micros / STEPS, "{micros} {top}");
        }
    }

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), Duration::ZERO);
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        for (part, ms) in [(0.5, 50_u32), (0.99, 99), (1.0, 100)] {
            let found = histogram.percentile(part).as_secs_f64() / f64::from(ms) * 1000.0;
            assert!((1.0..1.02).contains(&found), "{part}: {found}");
        }
        assert_eq!((histogram.total(), histogram.longest()), (100, Duration::from_millis(100)));
    }
}
