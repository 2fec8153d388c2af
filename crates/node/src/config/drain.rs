//! Settings of leaving: `[drain]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[drain]`: what happens between SIGTERM and the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// How long the node keeps the streams that it has before it sends them away, so that the load balancer notices and
    /// sends new ones elsewhere.
    /// `FANFARE_DRAIN__NOTICE`.
    #[serde(with = "humantime_serde")]
    pub notice: Duration,
    /// The time over which streams are ended, in even waves. `FANFARE_DRAIN__WINDOW`.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// A client that is sent away comes back after 100 ms and a random part of this. `FANFARE_DRAIN__RETRY_SPREAD`.
    #[serde(with = "humantime_serde")]
    pub retry_spread: Duration,
    /// How long a node that was told to stop may take in all; what is left then is cut off. More than notice and
    /// window together. `FANFARE_DRAIN__DEADLINE`.
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
