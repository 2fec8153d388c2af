//! Settings of publishing: `[publish]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[publish]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishConfig {
    /// How long an idempotency key is remembered. `FANFARE_PUBLISH__ONCE`.
    #[serde(with = "humantime_serde")]
    pub once: Duration,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self { once: Duration::from_mins(10) }
    }
}
