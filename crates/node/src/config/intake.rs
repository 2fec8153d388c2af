//! Settings of the durable intake: `[intake]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[intake]`: how entries of the ingest stream are brought to their channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntakeConfig {
    /// Whether this node takes part. At least one node of the cluster must. Default `true`.
    /// `FANFARE_INTAKE__ENABLED`.
    pub enabled: bool,
    /// How many entries are taken and published at once: 1 to 10,000; default 500. `FANFARE_INTAKE__BATCH`.
    pub batch: usize,
    /// The node that leads the intake is replaced when it was not heard of for so long. At least `500ms`; default
    /// `3s`. `FANFARE_INTAKE__LEASE`.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self { enabled: true, batch: 500, lease: Duration::from_secs(3) }
    }
}
