//! Settings of the durable intake: `[intake]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[intake]`: how entries of the ingest stream are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntakeConfig {
    /// Whether this node takes entries at all. `FANFARE_INTAKE__ENABLED`.
    pub enabled: bool,
    /// How many entries are taken at once. `FANFARE_INTAKE__BATCH`.
    pub batch: usize,
    /// For how long a node is the one that takes entries, unless it asks again before.
    /// `FANFARE_INTAKE__LEASE`.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How long an entry that was published is remembered if it could not be settled. `FANFARE_INTAKE__ONCE`.
    #[serde(with = "humantime_serde")]
    pub once: Duration,
    /// About how many dead entries are kept. `FANFARE_INTAKE__DEAD_EVENTS`.
    pub dead_events: usize,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            batch: 100,
            lease: Duration::from_secs(10),
            once: Duration::from_hours(24),
            dead_events: 10_000,
        }
    }
}
