//! Settings of both brokers.

use std::time::Duration;

use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;

use crate::{AckSettings, RetentionRules, StreamSettings};

/// Settings that do not depend on the kind of broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerSettings {
    /// Retention of the channels' logs.
    pub retention: RetentionRules,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// How long after their last session a user is reported offline, and how long a session that a draining node
    /// released waits for another node.
    pub grace: Duration,
    /// Maximum size of an event's data, in bytes.
    pub max_data: usize,
    /// Approximate number of entries that the lifecycle stream keeps.
    pub lifecycle_events: usize,
    /// Maximum rate of session events of one user in the lifecycle stream, per minute; further ones are merged. 0
    /// disables the limit.
    pub lifecycle_per_minute: u32,
    /// How long after a session's connection was last lost in silence the session has a shorter heartbeat. Zero records no
    /// silences.
    pub heartbeat_memory: Duration,
    /// Approximate number of entries that the dead-letter stream keeps.
    pub dead_events: usize,
    /// Bounds of acknowledged cursors.
    pub acks: AckSettings,
    /// Bounds of finite streams.
    pub streams: StreamSettings,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            retention: RetentionRules::default(),
            idempotency_window: Duration::from_mins(10),
            grace: Duration::ZERO,
            max_data: DEFAULT_MAX_DATA_BYTES,
            lifecycle_events: 100_000,
            lifecycle_per_minute: 0,
            heartbeat_memory: Duration::from_hours(1),
            dead_events: 10_000,
            acks: AckSettings::default(),
            streams: StreamSettings::default(),
        }
    }
}
