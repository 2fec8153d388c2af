//! The `retry:` (reconnection time) of a client (WHATWG HTML, section 9.2).
//!
//! A killed node cannot send its clients anything, so their outage is the `retry:` that they already have. It is as short as
//! the cluster allows: the clients of one node spread over the time that the other nodes need to take them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fanfare_config::stream::StreamConfig;

/// Minimum of a client whose stream ends as planned.
const PLANNED: Duration = Duration::from_millis(100);
/// Minimum of a client that must not come back at once, and of the random part, unless shorter settings want less.
const LONG: Duration = Duration::from_secs(2);
/// How many times the settings' minimum and random part these are at most.
const LONG_FACTORS: (u32, u32) = (8, 4);
/// Minimum of a client whose session was superseded. A native `EventSource` always reconnects, and two clients with the
/// same session would supersede each other with each reconnect.
const SUPERSEDED: Duration = Duration::from_mins(10);
/// Maximum of the time over which a node's clients spread.
const LONGEST: Duration = Duration::from_mins(1);
/// Rate at which a node is assumed to open streams if `limits.connects_per_second` is 0, in streams per second.
const ASSUMED_RATE: u32 = 5000;

/// Settings of reconnection times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Minimum after a failure: `stream.retry`.
    pub least: Duration,
    /// Maximum random part after a failure in a small cluster: `stream.retry_spread`.
    pub spread: Duration,
    /// Maximum random part after a planned end: `drain.retry_spread`.
    pub planned_spread: Duration,
}

impl RetrySettings {
    /// Returns the settings of streams. `planned_spread` is `drain.retry_spread`.
    pub fn new(settings: &StreamConfig, planned_spread: Duration) -> Self {
        Self { least: settings.retry, spread: settings.retry_spread, planned_spread }
    }
}

/// Reconnection times. Each has a random part, so that clients that were disconnected together do not reconnect together.
/// Clones share what is known of the cluster.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    settings: RetrySettings,
    /// Maximum random part after a failure, in milliseconds.
    spread: Arc<AtomicU32>,
}

/// What the clients of a node that fails must wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Number of streams on the node.
    pub streams: usize,
    /// Number of other nodes that take streams.
    pub others: usize,
    /// Maximum rate of new streams on each of them: `limits.connects_per_second`; 0 if there is none.
    pub connects_per_second: u32,
}

impl Failover {
    /// Returns the time over which the clients spread: the others take them at half of their rate, since other clients
    /// connect, too. A node without others is expected to come back itself.
    fn spread(self) -> Duration {
        let rate = match self.connects_per_second {
            0 => ASSUMED_RATE,
            rate => rate,
        };
        let streams = self.streams as u64;
        let per_second = (u64::from(rate) * self.others.max(1) as u64).div_ceil(2);
        LONGEST.min(Duration::from_millis(streams.saturating_mul(1000) / per_second))
    }
}

impl RetryPolicy {
    /// Creates the policy of a small cluster.
    pub fn new(settings: RetrySettings) -> Self {
        Self { settings, spread: Arc::new(AtomicU32::new(ms(settings.spread))) }
    }

    /// Adapts the times to the cluster. Keeps them if they would change by less than a third: open streams are sent a changed
    /// time.
    pub fn adapt(&self, failover: Failover) {
        let (old, new) = (self.spread_ms(), ms(self.settings.spread.max(failover.spread())));
        let (three, four) = (|ms: u32| u64::from(ms) * 3, |ms: u32| u64::from(ms) * 4);
        if three(new) > four(old) || three(old) > four(new) {
            self.spread.store(new, Ordering::Relaxed);
        }
    }

    /// Returns the maximum random part after a failure, in milliseconds. A client that was sent a time when it was different
    /// is sent a new one.
    pub(crate) fn spread_ms(&self) -> u32 {
        self.spread.load(Ordering::Relaxed)
    }

    /// Returns the time of one client, in milliseconds.
    pub fn ms(&self) -> u64 {
        jittered_ms(ms(self.settings.least), self.spread_ms())
    }

    /// Returns the time of a client that is refused for now, or needs a new token, in milliseconds.
    pub fn long_ms(&self) -> u64 {
        let RetrySettings { least, spread, .. } = self.settings;
        let least = least.max(LONG.min(least * LONG_FACTORS.0));
        let spread = LONG.min(spread * LONG_FACTORS.1);
        jittered_ms(ms(least), self.spread_ms().max(ms(spread)))
    }

    /// Returns the time of a client whose stream ends as planned, in milliseconds: short, since there is no failure, and
    /// during a drain other nodes work.
    pub fn planned_ms(&self) -> u64 {
        jittered_ms(ms(PLANNED), ms(self.settings.planned_spread))
    }

    /// Returns the time of a client whose session was superseded, in milliseconds.
    pub(crate) fn superseded_ms() -> u64 {
        jittered_ms(ms(SUPERSEDED), ms(SUPERSEDED))
    }
}

fn ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Returns `least` plus a random part of `spread`, in milliseconds.
fn jittered_ms(least: u32, spread: u32) -> u64 {
    u64::from(least) + u64::from(fastrand::u32(0..=spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RetrySettings = RetrySettings {
        least: Duration::from_millis(250),
        spread: Duration::from_millis(500),
        planned_spread: Duration::from_millis(400),
    };

    fn failover(streams: usize, others: usize) -> Failover {
        Failover { streams, others, connects_per_second: 5000 }
    }

    #[test]
    fn the_clients_of_a_node_spread_over_the_time_that_the_others_need() {
        for (streams, others, seconds) in [
            (0, 2, 0.0),
            (167, 2, 0.033),
            (20_000, 2, 4.0),
            (20_000, 0, 8.0),
            (50_000, 9, 2.222),
            (1 << 40, 1, 60.0),
        ] {
            let spread = failover(streams, others).spread().as_secs_f64();
            assert!((spread - seconds).abs() < 0.001, "{streams} streams, {others} others: {spread}");
        }
        let unlimited = Failover { connects_per_second: 0, ..failover(20_000, 2) };
        assert_eq!(unlimited.spread(), Duration::from_secs(4));
    }

    #[test]
    fn twenty_thousand_clients_come_back_no_faster_than_two_nodes_take_them() {
        let policy = RetryPolicy::new(SETTINGS);
        policy.adapt(failover(20_000, 2));
        let mut arrivals = [0_u32; 6];
        for _ in 0..20_000 {
            let second = usize::try_from(policy.ms() / 1000).unwrap();
            arrivals[second] += 1;
        }
        assert!(arrivals.iter().all(|arrivals| *arrivals <= 2 * 5000), "{arrivals:?}");
        assert!(arrivals[..4].iter().all(|arrivals| *arrivals > 3000), "{arrivals:?}");
        assert_eq!(arrivals[5], 0);
    }

    #[test]
    fn a_small_cluster_is_back_within_its_settings() {
        let policy = RetryPolicy::new(SETTINGS);
        policy.adapt(failover(500, 2));
        assert!((0..1000).all(|_| (250..=750).contains(&policy.ms())));
        assert!((0..1000).all(|_| (100..=500).contains(&policy.planned_ms())));
        assert!((0..1000).all(|_| (2000..=4000).contains(&policy.long_ms())));
        let (least, spread) = (Duration::from_millis(50), Duration::from_millis(50));
        let short = RetryPolicy::new(RetrySettings { least, spread, ..SETTINGS });
        assert!((0..1000).all(|_| (400..=600).contains(&short.long_ms())));
    }

    #[test]
    fn a_small_change_of_the_cluster_changes_nothing() {
        let policy = RetryPolicy::new(SETTINGS);
        let spread = |streams| {
            policy.adapt(failover(streams, 2));
            policy.spread_ms()
        };
        assert_eq!(spread(10_000), 2000);
        assert_eq!(spread(12_000), 2000);
        assert_eq!(spread(8_000), 2000);
        assert_eq!(spread(14_000), 2800);
        assert_eq!(spread(0), 500);
    }
}
