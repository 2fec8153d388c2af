//! Settings of sessions: `[session]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[session]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// How long a user without a stream is not reported offline yet, and how long a session that a leaving node let go
    /// of waits for another. `0s` reports at once. `FANFARE_SESSION__GRACE`.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// How many session events a minute one user may cause in the lifecycle stream, in the whole cluster; beyond that they
    /// are merged. 0 is no limit. `FANFARE_SESSION__LIFECYCLE_PER_MINUTE`.
    pub lifecycle_per_minute: u32,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { grace: Duration::from_secs(15), lifecycle_per_minute: 60 }
    }
}
