//! Settings of leaving: `[drain]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[drain]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// How long a node that was told to stop may take; what is left then is cut off. `FANFARE_DRAIN__DEADLINE`.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(25) }
    }
}
