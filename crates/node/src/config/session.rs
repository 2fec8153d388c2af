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
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { grace: Duration::from_secs(15) }
    }
}
