//! Settings of acknowledged cursors: `[ack]`.

use std::time::Duration;

use fanfare_broker::AckSettings;

use crate::setting::settings;

settings! {
    /// `[ack]`.
    pub struct AckConfig = "ack", |config| config.ack => {
        /// How long an acknowledged cursor is kept after the last acknowledgement.
        retention: Duration = "30d", in "1s" to "366d";
        /// Maximum number of devices and sessions of one user with an acknowledged cursor. Beyond it, the cursor that was
        /// acknowledged longest ago is removed.
        readers_per_user: usize = "16", in "1" to "1000";
        /// Approximate number of entries of the stream of receipts (`fanfare:receipts`), to which acknowledgements of single
        /// events are written; `0` writes none.
        receipts: usize = "0", in "0" to "100000000";
    }
}

impl AckConfig {
    /// Returns the settings of the broker.
    pub(crate) fn broker(&self) -> AckSettings {
        AckSettings { keep: self.retention, readers: self.readers_per_user, receipts: self.receipts }
    }
}
