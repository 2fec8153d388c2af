//! Settings of graceful shutdown: `[drain]`.

use std::time::Duration;

use crate::Config;
use crate::check::Checks;
use crate::setting::settings;

settings! {
    /// `[drain]`: how a node closes its streams between SIGTERM and its exit.
    pub struct DrainConfig = "drain", |config| config.drain => {
        /// How long a node keeps its streams after it was asked to stop, so that load balancers notice first.
        notice: Duration = "5s", in "0s" to "24h";
        /// Time over which streams are closed, in even waves.
        window: Duration = "20s", in "0s" to "24h";
        /// Clients of a draining node reconnect after 100 ms plus a random part of this time.
        retry_spread: Duration = "400ms", in "0s" to "1h";
        /// Maximum time from the request to stop to the exit; remaining streams are cut. Longer than `drain.notice`
        /// and `drain.window` together.
        deadline: Duration = "45s", in "0s" to "366d";
    }
}

/// Checks that all waves fit before the deadline.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    let drain = &config.drain;
    checks.hold(
        drain.deadline > drain.notice.saturating_add(drain.window),
        &["drain.deadline", "drain.notice", "drain.window"],
        "the deadline expires before the last wave of streams is closed",
        "longer than drain.notice and drain.window together",
    );
}
