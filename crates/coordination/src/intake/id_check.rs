//! Detects an ingest stream whose ids are far ahead of the clock, and has it replaced.
//!
//! Publishers may choose ids. After the greatest possible id, Redis refuses every further entry.

use std::sync::Arc;

use fanfare_broker::intake::{Reading, is_ahead};
use fanfare_broker::{IntakeQueue, clock};
use fanfare_protocol::Position;
use fanfare_telemetry::Throttle;

use super::PipelineEnd;
use super::leadership::Leadership;
use crate::metrics::ClusterMetrics;

pub(super) struct IdCheck {
    broker: Arc<dyn IntakeQueue>,
    metrics: Arc<ClusterMetrics>,
    ahead: Throttle,
    replaced: Throttle,
}

impl IdCheck {
    pub(super) fn new(broker: &Arc<dyn IntakeQueue>, metrics: &Arc<ClusterMetrics>) -> Self {
        Self {
            broker: Arc::clone(broker),
            metrics: Arc::clone(metrics),
            ahead: Throttle::default(),
            replaced: Throttle::default(),
        }
    }

    /// Checks the stream after entries were acknowledged, if an id of theirs is ahead.
    pub(super) async fn acknowledged(
        &self,
        lead: &Leadership,
        reading: &Reading,
        newest: Option<Position>,
    ) -> Result<(), PipelineEnd> {
        let Some(id) = newest.filter(|id| is_ahead(*id, clock::unix_ms())) else { return Ok(()) };
        self.run(lead, reading).await?;
        if let Some(held_back) = self.ahead.admit() {
            tracing::warn!(%id, held_back, "intake entries have ids far ahead of the clock; the ingest stream is replaced when it is empty");
        }
        Ok(())
    }

    /// Replaces the stream if it is empty and its last id is ahead. That ends the reading.
    pub(super) async fn run(&self, lead: &Leadership, reading: &Reading) -> Result<(), PipelineEnd> {
        lead.check()?;
        let replaced = self.broker.reset_intake(reading).await.map_err(|error| {
            self.metrics.intake_reset_failed.inc();
            PipelineEnd::Failed("failed to check the last id of the ingest stream", error)
        })?;
        let Some(last) = replaced else { return Ok(()) };
        self.metrics.intake_resets.inc();
        if let Some(held_back) = self.replaced.admit() {
            tracing::warn!(%last, held_back, "replaced the ingest stream: its last id was far ahead of the clock");
        }
        Err(PipelineEnd::Replaced)
    }
}
