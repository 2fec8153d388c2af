//! Readiness of the node, part by part.

use std::fmt;

use fanfare_api::health::{Part, Parts};
use fanfare_broker::Outage;

/// Checks one part. Runs on request and does not block.
pub type Check = Box<dyn Fn() -> Part + Send + Sync>;

/// Checks of all parts of the readiness.
pub struct Readiness {
    /// Why the broker did not carry out the last heartbeat, if it did not.
    pub outage: Box<dyn Fn() -> Option<Outage> + Send + Sync>,
    /// The broker answers.
    pub redis: Check,
    /// The subscriber connection is up.
    pub pubsub: Check,
    /// The lease is held.
    pub lease: Check,
    /// The keys of tokens are there.
    pub keys: Check,
    /// The revocations of tokens were read.
    pub revocations: Check,
    /// The node is not draining.
    pub draining: Check,
}

impl Readiness {
    /// Returns the state of each part.
    pub fn parts(&self) -> Parts {
        let Self { redis, pubsub, lease, keys, revocations, draining, .. } = self;
        Parts {
            redis: redis(),
            pubsub: pubsub(),
            lease: lease(),
            keys: keys(),
            revocations: revocations(),
            draining: draining(),
        }
    }

    /// Returns whether the node is draining.
    pub fn is_draining(&self) -> bool {
        !(self.draining)().ok
    }

    /// Returns whether the node accepts new streams.
    pub fn is_ready(&self) -> bool {
        let Self { redis, pubsub, lease, keys, revocations, draining, .. } = self;
        [redis, pubsub, lease, keys, revocations, draining].into_iter().all(|check| check().ok)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}
