//! One rate, with a bucket for each key.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};

use super::buckets::{Buckets, Store};

/// A rate per second for each key, with bursts of one second's worth.
#[derive(Debug)]
pub(super) struct Limit<K: Clone + Eq + Hash, C: Clock = DefaultClock> {
    limiter: RateLimiter<K, Store<K>, C, NoOpMiddleware<C::Instant>>,
    buckets: Arc<Buckets<K>>,
    per_second: NonZeroU32,
}

impl<K: Clone + Eq + Hash> Limit<K> {
    /// Creates a limit for up to `keys` keys; `None` if the rate is 0.
    pub(super) fn new(per_second: u32, keys: usize) -> Option<Self> {
        Self::by_clock(per_second, keys, DefaultClock::default())
    }
}

impl<K: Clone + Eq + Hash, C: Clock> Limit<K, C> {
    fn by_clock(per_second: u32, keys: usize, clock: C) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second)?;
        let buckets = Arc::new(Buckets::new(keys));
        let store = Store(Arc::clone(&buckets));
        let limiter = RateLimiter::new(Quota::per_second(per_second), store, clock);
        Some(Self { limiter, buckets, per_second })
    }

    /// Returns the rate per second.
    pub(super) fn per_second(&self) -> u32 {
        self.per_second.get()
    }

    /// Takes `n` from the key's bucket. More than one second's worth takes a full bucket, and what the next ones bring.
    ///
    /// # Errors
    ///
    /// Returns the time until there is enough, if the bucket has less.
    pub(super) fn check(&self, key: &K, n: u32) -> Result<(), Duration> {
        let Some(n) = NonZeroU32::new(n) else { return Ok(()) };
        match self.limiter.check_key_n(key, n.min(self.per_second)) {
            Ok(Ok(())) => {
                if n > self.per_second {
                    self.adjust(key, i64::from(n.get() - self.per_second.get()));
                }
                Ok(())
            }
            Ok(Err(until)) => Err(until.wait_time_from(self.limiter.clock().now())),
            // Impossible: `n` is at most the size of the bucket.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }

    /// Takes `n` more from a bucket after [`Limit::check`], or returns some if `n` is negative.
    pub(super) fn adjust(&self, key: &K, n: i64) {
        let interval = Quota::per_second(self.per_second).replenish_interval().as_nanos();
        let interval = i64::try_from(interval).unwrap_or(i64::MAX);
        self.buckets.adjust(key, interval.saturating_mul(n));
    }

    /// Drops buckets that are full again. Returns the number of remaining ones.
    pub(super) fn forget(&self) -> usize {
        self.limiter.retain_recent();
        self.limiter.len()
    }

    /// Returns the number of checks of keys without their own bucket since the last call.
    pub(super) fn take_shared(&self) -> u64 {
        self.buckets.take_shared()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn keys_beyond_the_most_share_a_bucket_and_known_ones_keep_theirs() {
        let limit = Limit::by_clock(2, 160, FakeRelativeClock::default()).unwrap();
        for known in 0..160 {
            let _ = limit.check(&known, 1);
        }
        let admitted = (1000..100_000).filter(|stranger| limit.check(stranger, 1).is_ok()).count();
        // In each of the 16 parts: what was free, and a shared bucket.
        assert!(admitted < 1000, "{admitted}");
        assert!(limit.limiter.len() <= 160, "{}", limit.limiter.len());
        assert!(limit.take_shared() > 90_000);
        // Most of the first are known, and have one left.
        let left = (0..160).filter(|known| limit.check(known, 1).is_ok()).count();
        assert!(left > 80, "{left}");
    }

    #[test]
    fn buckets_that_are_full_again_are_dropped() {
        let clock = FakeRelativeClock::default();
        let limit = Limit::by_clock(1_000_000, 1000, clock.clone()).unwrap();
        for key in 0..1000 {
            let _ = limit.check(&key, 1);
        }
        assert!(limit.forget() > 900, "some share one");
        // A bucket is kept for as long as a whole one takes to fill: a second.
        clock.advance(Duration::from_millis(1100));
        assert_eq!(limit.forget(), 0);
    }
}
