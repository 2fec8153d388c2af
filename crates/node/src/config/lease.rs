//! Settings of the node's lease on what it owns: `[lease]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[lease]`: after how long a silent node is taken for dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// How long the lease lasts. `FANFARE_LEASE__TTL`.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
    /// How often it is renewed; a third of `ttl` by default. `FANFARE_LEASE__HEARTBEAT`.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Option<Duration>,
}

impl LeaseConfig {
    /// How often the lease is renewed.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat.unwrap_or(self.ttl / 3)
    }
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10), heartbeat: None }
    }
}
