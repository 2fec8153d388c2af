//! Settings of the node's lease: `[lease]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[lease]`: how soon a node that is gone counts as dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// A node that was not heard of for so long is dead, and others remove its sessions. A node that was paused or
    /// cut off for longer claims its sessions anew. At least `1s`; default `10s`. `FANFARE_LEASE__TTL`.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10) }
    }
}

impl LeaseConfig {
    /// The shortest `ttl` that leaves time for a lost heartbeat.
    pub const SHORTEST_TTL: Duration = Duration::from_secs(1);

    /// How often the lease is renewed: two heartbeats may be lost.
    pub fn heartbeat(&self) -> Duration {
        self.ttl / 3
    }

    /// How often each node looks for the sessions of dead nodes, before jitter.
    pub fn sweep_every(&self) -> Duration {
        self.ttl / 2
    }
}
