//! Settings of sessions: `[session]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[session]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// How long after their last stream a user is reported offline, and how long a session that a draining node
    /// released waits for another node. `0s` reports at once. Default: `15s`. `FANFARE_SESSION__GRACE`.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Maximum rate of session events of one user in the lifecycle stream; further ones are merged. `0` disables the
    /// limit. Default: `60`. `FANFARE_SESSION__LIFECYCLE_PER_MINUTE`.
    pub lifecycle_per_minute: u32,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { grace: Duration::from_secs(15), lifecycle_per_minute: 60 }
    }
}
