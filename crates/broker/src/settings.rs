//! What both brokers are told.

use std::time::Duration;

use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;

use crate::RetentionRules;

/// How long the idempotency key of an intake entry is remembered once the entry is settled: for so long a node may be
/// paused with an entry in hand that another has settled meanwhile, and still not publish it a second time.
pub const INTAKE_SETTLED_ONCE: Duration = Duration::from_mins(5);

/// Settings of the broker that do not depend on which one it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerSettings {
    /// How much of each channel is kept.
    pub retention: RetentionRules,
    /// How long an idempotency key is remembered.
    pub once: Duration,
    /// The same for entries of the ingest stream, which are forgotten
    /// [`INTAKE_SETTLED_ONCE`] after they are settled.
    pub intake_once: Duration,
    /// How long a user without a session is not reported offline yet, and a session that a leaving node let go of waits
    /// for another.
    pub grace: Duration,
    /// The most data an event may have, in bytes.
    pub max_data: usize,
    /// About how many entries the lifecycle stream keeps.
    pub lifecycle_events: usize,
    /// About how many dead intake entries are kept.
    pub dead_events: usize,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            retention: RetentionRules::default(),
            once: Duration::from_mins(10),
            intake_once: Duration::from_hours(24),
            grace: Duration::ZERO,
            max_data: DEFAULT_MAX_DATA_BYTES,
            lifecycle_events: 100_000,
            dead_events: 10_000,
        }
    }
}
