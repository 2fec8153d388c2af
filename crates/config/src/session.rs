//! Settings of sessions: `[session]`.

use std::time::Duration;

use crate::presence::PresenceChannels;
use crate::setting::settings;

settings! {
    /// `[session]`.
    pub struct SessionConfig = "session", |config| config.session => {
        /// How long after their last stream a user is reported offline, and how long a session that a draining node
        /// released waits for another node. `0s` reports at once.
        grace: Duration = "15s", in "0s" to "366d";
        /// Maximum rate of session events of one user in the lifecycle stream; further ones are merged. `0` disables
        /// the limit.
        lifecycle_per_minute: u32 = "60", in "0" to "60000";
        /// Patterns of channels whose presence is recorded: which sessions and users follow them. Without one, none is.
        /// `user:<id>` and `broadcast` need a pattern that begins with their names. All nodes must have the same patterns.
        presence_channels: PresenceChannels;
    }
}
