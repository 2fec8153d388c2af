//! Settings of publishing: `[publish]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[publish]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishConfig {
    /// How long an idempotency key is remembered. Default: `10m`. `FANFARE_PUBLISH__IDEMPOTENCY_WINDOW`.
    #[serde(with = "humantime_serde")]
    pub idempotency_window: Duration,
}

impl Default for PublishConfig {
    fn default() -> Self {
        Self { idempotency_window: Duration::from_mins(10) }
    }
}
