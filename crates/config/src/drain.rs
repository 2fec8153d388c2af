//! Settings of graceful shutdown: `[drain]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[drain]`: how a node closes its streams between SIGTERM and its exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// How long a node keeps its streams after it was asked to stop, so that load balancers notice first. Default:
    /// `5s`. `FANFARE_DRAIN__NOTICE`.
    #[serde(with = "humantime_serde")]
    pub notice: Duration,
    /// Time over which streams are closed, in even waves. Default: `20s`. `FANFARE_DRAIN__WINDOW`.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Clients of a draining node reconnect after 100 ms plus a random part of this time. Default: `400ms`.
    /// `FANFARE_DRAIN__RETRY_SPREAD`.
    #[serde(with = "humantime_serde")]
    pub retry_spread: Duration,
    /// Maximum time from the request to stop to the exit; remaining streams are cut. Longer than `drain.notice` and
    /// `drain.window` together. Default: `45s`. `FANFARE_DRAIN__DEADLINE`.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self {
            notice: Duration::from_secs(5),
            window: Duration::from_secs(20),
            retry_spread: Duration::from_millis(400),
            deadline: Duration::from_secs(45),
        }
    }
}
