//! Being the one node that takes entries, and knowing when that may be over.

use std::sync::Arc;
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
    /// Counted from before the call that gave it. A tenth is left for requests that are on their way.
    until: Instant,
    renew_at: Instant,
}

impl Leadership {
    /// Asks for the lead; none if another node has it.
    pub(super) async fn gain(
        broker: &Arc<dyn Broker>,
        node: &NodeId,
        ttl: Duration,
        metrics: &Arc<ClusterMetrics>,
    ) -> Result<Option<Self>, BrokerError> {
        let sent = Instant::now();
        let granted = tokio::time::timeout(ttl / 3, broker.lead_intake(node, ttl)).await;
        let granted =
            granted.unwrap_or_else(|_| Err(BrokerError::Unavailable("no answer in time".into())))?;
        let mut lead = Self {
            broker: Arc::clone(broker),
            node: node.clone(),
            ttl,
            metrics: Arc::clone(metrics),
            until: sent,
            renew_at: sent,
        };
        lead.extend(sent);
        Ok(granted.then_some(lead))
    }

    fn extend(&mut self, sent: Instant) {
        self.until = sent + self.ttl - self.ttl / 10;
        self.renew_at = sent + self.ttl / 3;
    }

    /// Carries work out while the lead is renewed beside it. Work is not begun, or is dropped half done, when the
    /// lead may have lapsed.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Lapsed> {
        // The lead is looked at first: after a pause of the whole process both may be due. Dropping a renewal half
        // done is safe: the next one comes at once.
        tokio::select! {
            biased;
            lapsed = self.keep() => Err(lapsed),
            done = work => Ok(done),
        }
    }

    /// Renews the lead until it is lost.
    async fn keep(&mut self) -> Lapsed {
        loop {
            tokio::time::sleep_until(self.renew_at.min(self.until)).await;
            let sent = Instant::now();
            if sent >= self.until {
                return Lapsed;
            }
            match tokio::time::timeout_at(self.until, self.broker.lead_intake(&self.node, self.ttl)).await {
                Ok(Ok(true)) => self.extend(sent),
                Ok(Ok(false)) | Err(_) => return Lapsed,
                Ok(Err(_)) => {
                    self.metrics.intake_lead_failed.inc();
                    self.renew_at = Instant::now() + self.ttl / 20;
                }
            }
        }
    }

    /// Lets another node lead at once.
    pub(super) async fn resign(self) {
        // When this fails, the lead lapses.
        let resigned = tokio::time::timeout(self.ttl / 3, self.broker.resign_intake(&self.node)).await;
        if !matches!(resigned, Ok(Ok(()))) {
            tracing::info!("the lead of the intake was not given up; it will lapse");
        }
    }
}
