//! Time between retries.

use std::time::Duration;

/// Exponential backoff up to a limit, with jitter, so that nodes that failed together do not retry together.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Creates a backoff from its first and its longest time.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// Records a failure. Returns the time to wait: between half of the current time and all of it.
    pub fn fail(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        jittered(whole.mul_f64(0.75), 1.0 / 3.0)
    }

    /// Records a success.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Returns whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

/// Returns a random time around `middle`, which differs by at most the fraction `spread`.
pub fn jittered(middle: Duration, spread: f64) -> Duration {
    middle.mul_f64(1.0 + spread * (2.0 * fastrand::f64() - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_limit_and_begins_again_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1000));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.fail();
            assert!((ms(whole / 2)..=ms(whole)).contains(&wait), "{wait:?} of {whole} ms");
        }
        assert!(backoff.is_failing());
        backoff.succeed();
        assert!(!backoff.is_failing());
        assert!(backoff.fail() <= ms(100));
        (0..100).for_each(|_| assert!(backoff.fail() <= ms(1000)));
    }
}
