//! Leadership of the intake.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfare_broker::{BrokerError, IntakeQueue, NodeId};
use tokio::time::Instant;

use crate::metrics::ClusterMetrics;

/// The leadership may have expired.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeadershipLost;

/// The leadership, which the node certainly holds until a time by its own clock.
#[derive(Debug)]
pub(super) struct Leadership {
    broker: Arc<dyn IntakeQueue>,
    node: NodeId,
    ttl: Duration,
    metrics: Arc<ClusterMetrics>,
    acquired: Instant,
    /// End of the leadership, in milliseconds after `acquired`. Counted from before the call that granted it, less a
    /// tenth for requests in flight.
    until: AtomicU64,
}

impl Leadership {
    /// Acquires the leadership; `None` if another node holds it.
    pub(super) async fn acquire(
        broker: &Arc<dyn IntakeQueue>,
        node: &NodeId,
        ttl: Duration,
        metrics: &Arc<ClusterMetrics>,
    ) -> Result<Option<Self>, BrokerError> {
        let acquired = Instant::now();
        let granted = tokio::time::timeout(ttl / 3, broker.lead_intake(node, ttl)).await;
        let granted =
            granted.unwrap_or_else(|_| Err(BrokerError::Unavailable("no answer in time".into())))?;
        let lead = Self {
            broker: Arc::clone(broker),
            node: node.clone(),
            ttl,
            metrics: Arc::clone(metrics),
            acquired,
            until: AtomicU64::new(0),
        };
        lead.extend(acquired);
        Ok(granted.then_some(lead))
    }

    fn extend(&self, sent: Instant) {
        let until = sent + self.ttl * 9 / 10 - self.acquired;
        self.until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn until(&self) -> Instant {
        self.acquired + Duration::from_millis(self.until.load(Ordering::Relaxed))
    }

    /// Fails if the leadership may have expired. Must be called before each step, since the process may have been
    /// paused.
    pub(super) fn check(&self) -> Result<(), LeadershipLost> {
        if Instant::now() < self.until() { Ok(()) } else { Err(LeadershipLost) }
    }

    /// Runs work while the leadership is renewed. Drops the work if the leadership may have expired.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, LeadershipLost> {
        // A cancelled renewal may have been carried out: the leadership lasts longer then.
        tokio::select! {
            biased;
            lapsed = self.keep() => Err(lapsed),
            done = work => Ok(done),
        }
    }

    /// Renews the leadership until it is lost.
    async fn keep(&self) -> LeadershipLost {
        let mut renew_at = self.acquired + self.ttl / 3;
        loop {
            tokio::time::sleep_until(renew_at.min(self.until())).await;
            let sent = Instant::now();
            if self.check().is_err() {
                return LeadershipLost;
            }
            let renewal = self.broker.lead_intake(&self.node, self.ttl);
            match tokio::time::timeout_at(self.until(), renewal).await {
                Ok(Ok(true)) => {
                    self.extend(sent);
                    renew_at = sent + self.ttl / 3;
                }
                Ok(Ok(false)) | Err(_) => return LeadershipLost,
                Ok(Err(_)) => {
                    self.metrics.intake_lead_failed.inc();
                    renew_at = Instant::now() + self.ttl / 20;
                }
            }
        }
    }

    /// Releases the leadership, so that another node can lead at once.
    pub(super) async fn release(self) {
        // If this fails, the leadership expires.
        let resigned = tokio::time::timeout(self.ttl / 3, self.broker.resign_intake(&self.node)).await;
        if !matches!(resigned, Ok(Ok(()))) {
            tracing::info!("failed to release the intake leadership; it will expire");
        }
    }
}
