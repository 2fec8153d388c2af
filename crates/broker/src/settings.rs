//! What both brokers are told.

use std::time::Duration;

use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;

use crate::RetentionRules;

/// Settings of the broker that do not depend on which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerSettings {
    /// How much of each channel is kept.
    pub retention: RetentionRules,
    /// How long an idempotency key is remembered.
    pub once: Duration,
    /// How long a user without a session is not reported offline yet, and a session that a leaving node let go of waits
    /// for another.
    pub grace: Duration,
    /// The most data an event may have, in bytes.
    pub max_data: usize,
    /// About how many entries the lifecycle stream keeps.
    pub lifecycle_events: usize,
    /// How many session events one user may cause in the lifecycle stream in a minute; beyond that they are merged. 0 is
    /// no limit.
    pub lifecycle_per_minute: u32,
    /// About how many dead intake entries are kept.
    pub dead_events: usize,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            retention: RetentionRules::default(),
            once: Duration::from_mins(10),
            grace: Duration::ZERO,
            max_data: DEFAULT_MAX_DATA_BYTES,
            lifecycle_events: 100_000,
            lifecycle_per_minute: 0,
            dead_events: 10_000,
        }
    }
}
