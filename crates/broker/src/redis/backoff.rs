//! How long to wait before the next attempt.

use std::time::Duration;

/// Grows from `min` to `max` with each attempt, jittered, so that nodes that lost Redis together do not come back
/// together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The pause before the next attempt: between half of the growing bound and the whole of it.
    pub(super) fn next(&mut self) -> Duration {
        let bound = self.next;
        self.next = bound.saturating_mul(2).min(self.max);
        bound.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It worked: begin anew.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_bound_and_begins_anew() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut backoff = Backoff::new(min, max);
        let mut bound = min;
        for _ in 0..20 {
            let pause = backoff.next();
            assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
            bound = (bound * 2).min(max);
        }
        backoff.reset();
        assert!(backoff.next() <= min);
    }
}
