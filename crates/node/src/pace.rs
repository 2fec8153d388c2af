//! Minimum rate at which a client sends a body or reads a response: `http.min_rate`.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Minimum rate: a number of bytes in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes in each period; 0 requires a single byte.
    pub bytes: usize,
    /// The period.
    pub period: Duration,
}

/// The client is slower than the minimum rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is slower than http.min_rate")]
pub struct TooSlow;

impl MinRate {
    /// Creates a minimum of `rate` bytes per second, measured over `period`.
    pub fn new(rate: usize, period: Duration) -> Self {
        let bytes = period.as_secs_f64() * u32::try_from(rate).map_or(f64::from(u32::MAX), f64::from);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a product of two that are positive"
        )]
        Self { bytes: bytes as usize, period }
    }

    /// Returns the same rate, measured over at most `longest`.
    #[must_use]
    pub fn within(self, longest: Duration) -> Self {
        if longest >= self.period {
            return self;
        }
        let part = longest.as_secs_f64() / self.period.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of what was a number of bytes"
        )]
        Self { bytes: (self.bytes as f64 * part) as usize, period: longest }
    }

    /// Returns whether this number of bytes in a period is enough.
    pub fn is_met(self, bytes: usize) -> bool {
        bytes >= self.bytes.max(1)
    }
}

/// One transfer with a minimum rate.
#[derive(Debug)]
pub(crate) struct Pace {
    min_rate: MinRate,
    /// The end of the current period.
    until: Instant,
    /// Bytes transferred in the current period.
    moved: usize,
}

impl Pace {
    /// Creates a transfer that starts now.
    pub(crate) fn new(min_rate: MinRate) -> Self {
        Self { min_rate, until: Instant::now() + min_rate.period, moved: 0 }
    }

    /// Counts transferred bytes.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// Waits for one step of the transfer.
    ///
    /// # Errors
    ///
    /// Fails if a period ends with too few bytes.
    pub(crate) async fn within<T>(&mut self, step: impl Future<Output = T>) -> Result<T, TooSlow> {
        let mut step = pin!(step);
        loop {
            if let Ok(done) = timeout_at(self.until, step.as_mut()).await {
                return Ok(done);
            }
            if !self.min_rate.is_met(self.moved) {
                return Err(TooSlow);
            }
            self.moved = 0;
            self.until = Instant::now() + self.min_rate.period;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const MIN_RATE: MinRate = MinRate { bytes: 10_000, period: Duration::from_secs(10) };

    #[tokio::test(start_paused = true)]
    async fn a_transfer_below_the_minimum_rate_ends_with_its_period_and_a_faster_one_continues() {
        for (bytes, passes) in [(999, false), (1001, true)] {
            let begun = Instant::now();
            let mut pace = Pace::new(MIN_RATE);
            let mut result = Ok(());
            for _ in 0..60 {
                result = pace.within(sleep(Duration::from_secs(1))).await;
                if result.is_err() {
                    break;
                }
                pace.moved(bytes);
            }
            assert_eq!(result.is_ok(), passes, "{bytes} bytes a second");
            assert_eq!(begun.elapsed().as_secs() <= 10, !passes);
        }
    }

    #[test]
    fn a_minimum_rate_is_the_same_over_a_shorter_period() {
        assert_eq!(MinRate::new(1000, Duration::from_secs(10)), MIN_RATE);
        assert_eq!(
            MIN_RATE.within(Duration::from_secs(5)),
            MinRate { bytes: 5000, period: Duration::from_secs(5) }
        );
        assert_eq!(MIN_RATE.within(Duration::from_secs(50)), MIN_RATE);
        assert!(!MinRate::new(0, Duration::from_secs(1)).is_met(0));
    }
}
