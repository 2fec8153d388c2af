//! The time by this machine's clock.

use std::time::{Duration, SystemTime};

/// Returns the time since the Unix epoch; zero if the clock shows an earlier time.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Returns the time since the Unix epoch in milliseconds.
pub fn unix_ms() -> u64 {
    u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX)
}
