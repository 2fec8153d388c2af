//! Settings of the node's lease: `[lease]`.

use std::time::Duration;

use crate::setting::settings;

settings! {
    /// `[lease]`: how soon a node that stopped renewing its lease is considered dead.
    pub struct LeaseConfig = "lease", |config| config.lease => {
        /// Node lease duration, renewed every third of it. A node whose lease expires is considered dead.
        ttl: Duration = "10s", in "1s" to "1h";
    }
}

impl LeaseConfig {
    /// Returns the interval of heartbeats: the lease survives two lost heartbeats.
    pub fn heartbeat(&self) -> Duration {
        self.ttl / 3
    }

    /// Returns the interval of sweeps for sessions of dead nodes, before jitter.
    pub fn sweep_every(&self) -> Duration {
        self.ttl / 2
    }
}
