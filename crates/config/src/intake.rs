//! Settings of the durable intake: `[intake]`.

use std::time::Duration;

use crate::setting::settings;

settings! {
    /// `[intake]`: publishing of the ingest stream's entries to their channels.
    pub struct IntakeConfig = "intake", |config| config.intake => {
        /// Whether this node may lead the intake.
        enabled: bool = "true";
        /// Maximum number of intake entries published at once.
        batch: usize = "500", in "1" to "10000";
        /// Lease duration of the intake leader; another node takes over when it expires.
        lease: Duration = "3s", in "500ms" to "1h";
    }
}
