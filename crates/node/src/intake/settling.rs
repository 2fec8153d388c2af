//! The last stage: settles what was published, or never can be.

use std::sync::Arc;

use fanfare_broker::Broker;
use fanfare_broker::intake::{Reading, Settlement};
use tokio::sync::mpsc;

use super::Stop;
use super::leadership::Leadership;
use super::patience::Patience;
use crate::metrics::cluster::ClusterMetrics;

pub(super) struct Settling {
    broker: Arc<dyn Broker>,
    metrics: Arc<ClusterMetrics>,
    patience: Patience,
}

impl Settling {
    pub(super) fn new(broker: &Arc<dyn Broker>, metrics: &Arc<ClusterMetrics>, patience: Patience) -> Self {
        Self { broker: Arc::clone(broker), metrics: Arc::clone(metrics), patience }
    }

    /// Settles until nothing more comes.
    pub(super) async fn run(
        &mut self,
        lead: &Leadership,
        reading: &Reading,
        mut published: mpsc::Receiver<Vec<Settlement>>,
    ) -> Result<(), Stop> {
        while let Some(settled) = published.recv().await {
            lead.check()?;
            while let Err(error) = self.broker.settle_intake(reading, settled.clone()).await {
                self.metrics.intake_settle_failed.inc();
                self.patience.after("could not settle intake entries", &error).await?;
                lead.check()?;
            }
            self.patience.succeed();
        }
        Ok(())
    }
}
