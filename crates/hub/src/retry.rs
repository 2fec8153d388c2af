//! The `retry:` (reconnection time) of a client (WHATWG HTML, section 9.2).

use std::time::Duration;

use fanfare_config::stream::StreamConfig;

/// Minimum of a client whose stream ends as planned.
const PLANNED: Duration = Duration::from_millis(100);
/// Minimum of a client whose session was superseded. A native `EventSource` always reconnects, and two clients with the
/// same session would supersede each other with each reconnect.
const SUPERSEDED: Duration = Duration::from_mins(10);

/// Reconnection times. Each has a random part, so that clients that were disconnected together do not reconnect together.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Minimum after a failure: `stream.retry`.
    pub least: Duration,
    /// Maximum random part after a failure: `stream.retry_spread`.
    pub spread: Duration,
    /// Maximum random part after a planned end: `drain.retry_spread`.
    pub planned_spread: Duration,
}

impl RetryPolicy {
    /// Creates the policy of the settings of streams. `planned_spread` is `drain.retry_spread`.
    pub fn new(settings: &StreamConfig, planned_spread: Duration) -> Self {
        Self { least: settings.retry, spread: settings.retry_spread, planned_spread }
    }

    /// Returns the time of one client, in milliseconds.
    pub fn ms(&self) -> u64 {
        jittered_ms(self.least, self.spread)
    }

    /// Returns the time of a client whose stream ends as planned, in milliseconds: short, since there is no failure, and
    /// during a drain other nodes work.
    pub fn planned_ms(&self) -> u64 {
        jittered_ms(PLANNED, self.planned_spread)
    }

    /// Returns the time of a client whose session was superseded, in milliseconds.
    pub(crate) fn superseded_ms() -> u64 {
        jittered_ms(SUPERSEDED, SUPERSEDED)
    }
}

/// Returns `least` plus a random part of `spread`, in milliseconds.
fn jittered_ms(least: Duration, spread: Duration) -> u64 {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    ms(least).saturating_add(fastrand::u64(0..=ms(spread)))
}
