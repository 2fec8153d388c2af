//! Being the one node that takes entries, and knowing when that may be over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfare_broker::{Broker, BrokerError, NodeId};
use tokio::time::Instant;

use crate::metrics::cluster::ClusterMetrics;

/// Another node leads now, or may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lapsed;

/// The lead, for as long as it is surely ours by our own clock.
#[derive(Debug)]
pub(super) struct Leadership {
    broker: Arc<dyn Broker>,
    node: NodeId,
    ttl: Duration,
    metrics: Arc<ClusterMetrics>,
    gained: Instant,
    /// Until when, in milliseconds after `gained`. Counted from before the call that gave it, and a tenth is left for
    /// requests that are on their way.
    until: AtomicU64,
}

impl Leadership {
    /// Asks for the lead; none if another node has it.
    pub(super) async fn gain(
        broker: &Arc<dyn Broker>,
        node: &NodeId,
        ttl: Duration,
        metrics: &Arc<ClusterMetrics>,
    ) -> Result<Option<Self>, BrokerError> {
        let gained = Instant::now();
        let granted = tokio::time::timeout(ttl / 3, broker.lead_intake(node, ttl)).await;
        let granted =
            granted.unwrap_or_else(|_| Err(BrokerError::Unavailable("no answer in time".into())))?;
        let lead = Self {
            broker: Arc::clone(broker),
            node: node.clone(),
            ttl,
            metrics: Arc::clone(metrics),
            gained,
            until: AtomicU64::new(0),
        };
        lead.extend(gained);
        Ok(granted.then_some(lead))
    }

    fn extend(&self, sent: Instant) {
        let until = sent + self.ttl * 9 / 10 - self.gained;
        self.until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn until(&self) -> Instant {
        self.gained + Duration::from_millis(self.until.load(Ordering::Relaxed))
    }

    /// Fails if the lead may have lapsed. To be asked before each step, since the process may have been paused after
    /// the one before.
    pub(super) fn check(&self) -> Result<(), Lapsed> {
        if Instant::now() < self.until() { Ok(()) } else { Err(Lapsed) }
    }

    /// Carries work out while the lead is renewed beside it. The work is dropped when the lead may have lapsed.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, Lapsed> {
        // A renewal may be dropped half done: the lead is then longer than we believe.
        tokio::select! {
            biased;
            lapsed = self.keep() => Err(lapsed),
            done = work => Ok(done),
        }
    }

    /// Renews the lead until it is lost.
    async fn keep(&self) -> Lapsed {
        let mut renew_at = self.gained + self.ttl / 3;
        loop {
            tokio::time::sleep_until(renew_at.min(self.until())).await;
            let sent = Instant::now();
            if self.check().is_err() {
                return Lapsed;
            }
            let renewal = self.broker.lead_intake(&self.node, self.ttl);
            match tokio::time::timeout_at(self.until(), renewal).await {
                Ok(Ok(true)) => {
                    self.extend(sent);
                    renew_at = sent + self.ttl / 3;
                }
                Ok(Ok(false)) | Err(_) => return Lapsed,
                Ok(Err(_)) => {
                    self.metrics.intake_lead_failed.inc();
                    renew_at = Instant::now() + self.ttl / 20;
                }
            }
        }
    }

    /// Lets another node lead at once.
    pub(super) async fn resign(self) {
        // When this fails, the lead lapses.
        let resigned = tokio::time::timeout(self.ttl / 3, self.broker.resign_intake(&self.node)).await;
        if !matches!(resigned, Ok(Ok(()))) {
            tracing::info!("failed to release the intake leadership; it will expire");
        }
    }
}
