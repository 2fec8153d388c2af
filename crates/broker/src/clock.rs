//! The time by this machine's clock.

use std::time::{Duration, SystemTime};

/// Returns the time since the Unix epoch; zero if the clock shows an earlier time.
pub fn unix_now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Returns the time since the Unix epoch in milliseconds.
pub fn unix_ms() -> u64 {
    ms_of(SystemTime::now())
}

/// Returns a time in milliseconds since the Unix epoch; zero for an earlier time.
pub fn ms_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
