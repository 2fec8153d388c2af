//! Whether the effect of a fault was seen.

use serde::Serialize;

/// Whether an effect was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// What had to be seen.
    pub wanted: String,
    /// What was seen.
    pub found: String,
    /// Whether that is enough.
    pub holds: bool,
}
