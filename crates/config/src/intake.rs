//! Settings of the durable intake: `[intake]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[intake]`: publishing of the ingest stream's entries to their channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntakeConfig {
    /// Whether this node may lead the intake. Default: `true`. `FANFARE_INTAKE__ENABLED`.
    pub enabled: bool,
    /// Maximum number of intake entries published at once. Default: `500`. `FANFARE_INTAKE__BATCH`.
    pub batch: usize,
    /// Lease duration of the intake leader; another node takes over when it expires. Default: `3s`.
    /// `FANFARE_INTAKE__LEASE`.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

impl Default for IntakeConfig {
    fn default() -> Self {
        Self { enabled: true, batch: 500, lease: Duration::from_secs(3) }
    }
}
