//! Settings of the node's lease: `[lease]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[lease]`: how soon a node that stopped renewing its lease is considered dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// Node lease duration, renewed every third of it. A node whose lease expires is considered dead. Default: `10s`.
    /// `FANFARE_LEASE__TTL`.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10) }
    }
}

impl LeaseConfig {
    /// Minimum `ttl`, which leaves time for a lost heartbeat.
    pub const SHORTEST_TTL: Duration = Duration::from_secs(1);

    /// Returns the interval of heartbeats: the lease survives two lost heartbeats.
    pub fn heartbeat(&self) -> Duration {
        self.ttl / 3
    }

    /// Returns the interval of sweeps for sessions of dead nodes, before jitter.
    pub fn sweep_every(&self) -> Duration {
        self.ttl / 2
    }
}
