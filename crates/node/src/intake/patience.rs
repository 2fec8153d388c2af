//! Waiting after a call that failed.

use std::time::Duration;

use fanfare_broker::BrokerError;
use fanfare_broker::backoff::Backoff;
use tokio_util::sync::CancellationToken;

use super::Stop;
use crate::throttle::Throttle;

/// How long one kind of call waits before it is made again.
pub(super) struct Patience {
    stop: CancellationToken,
    backoff: Backoff,
    log: Throttle,
}

impl Patience {
    /// `stop` is cancelled when the node leaves.
    pub(super) fn new(stop: CancellationToken) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        Self { stop, backoff, log: Throttle::default() }
    }

    /// Waits before trying again. A node that is leaving does not wait.
    pub(super) async fn after(&mut self, what: &'static str, error: &BrokerError) -> Result<(), Stop> {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(%error, held_back, "{what}");
        }
        let wait = tokio::time::sleep(self.backoff.fail());
        self.stop.run_until_cancelled(wait).await.ok_or(Stop::Leaving)
    }

    /// The next wait is short again.
    pub(super) fn succeed(&mut self) {
        self.backoff.succeed();
    }
}
