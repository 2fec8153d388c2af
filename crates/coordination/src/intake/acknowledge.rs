//! The last stage: acknowledges published entries.

use std::sync::Arc;

use fanfare_broker::IntakeQueue;
use fanfare_broker::intake::Reading;
use fanfare_protocol::Position;
use tokio::sync::mpsc;

use super::PipelineEnd;
use super::id_check::IdCheck;
use super::leadership::Leadership;
use crate::metrics::ClusterMetrics;

pub(super) struct Acknowledger {
    broker: Arc<dyn IntakeQueue>,
    metrics: Arc<ClusterMetrics>,
    ids: Arc<IdCheck>,
}

impl Acknowledger {
    pub(super) fn new(
        broker: &Arc<dyn IntakeQueue>,
        metrics: &Arc<ClusterMetrics>,
        ids: Arc<IdCheck>,
    ) -> Self {
        Self { broker: Arc::clone(broker), metrics: Arc::clone(metrics), ids }
    }

    /// Acknowledges entries until the input ends.
    pub(super) async fn run(
        &self,
        lead: &Leadership,
        reading: &Reading,
        mut published: mpsc::Receiver<Vec<Position>>,
    ) -> Result<(), PipelineEnd> {
        while let Some(ids) = published.recv().await {
            lead.check()?;
            let newest = ids.iter().copied().max();
            self.broker.settle_intake(reading, ids).await.map_err(|error| {
                self.metrics.intake_acknowledge_failed.inc();
                PipelineEnd::Failed("failed to acknowledge intake entries", error)
            })?;
            self.ids.acknowledged(lead, reading, newest).await?;
        }
        Ok(())
    }
}
