//! Settings of publishing: `[publish]`.

use std::time::Duration;

use crate::setting::settings;

settings! {
    /// `[publish]`.
    pub struct PublishConfig = "publish", |config| config.publish => {
        /// How long an idempotency key is remembered.
        idempotency_window: Duration = "10m", in "1ms" to "366d";
    }
}
