//! The second stage: publishes batches.

use std::sync::Arc;

use fanfare_broker::IntakeQueue;
use fanfare_broker::dead_letter::Rejected;
use fanfare_broker::intake::{Reading, chain};
use fanfare_protocol::Position;
use fanfare_protocol::publish::{Publication, TimedPublication};
use fanfare_telemetry::Throttle;
use fanfare_telemetry::traces::Tracer;
use tokio::sync::mpsc;

use super::PipelineEnd;
use super::fetch::{DeadLetter, FetchedBatch, FetchedEntry};
use super::leadership::Leadership;
use super::publish_results::PublishResults;
use crate::metrics::ClusterMetrics;

pub(super) struct Publisher {
    broker: Arc<dyn IntakeQueue>,
    metrics: Arc<ClusterMetrics>,
    tracer: Tracer,
    log: Throttle,
}

impl Publisher {
    pub(super) fn new(broker: &Arc<dyn IntakeQueue>, metrics: &Arc<ClusterMetrics>, tracer: Tracer) -> Self {
        let (broker, metrics) = (Arc::clone(broker), Arc::clone(metrics));
        Self { broker, metrics, tracer, log: Throttle::of_events() }
    }

    /// Publishes batches until the input ends. An entry that can never be published is moved to the dead-letter
    /// stream before newer entries are published: the next leader might be able to publish it, after newer entries.
    ///
    /// An entry that stays unpublished ends the reading: the next reading has it in its order.
    pub(super) async fn run(
        &self,
        lead: &Leadership,
        reading: &Reading,
        mut fetched: mpsc::Receiver<FetchedBatch>,
        published: mpsc::Sender<Vec<Position>>,
    ) -> Result<(), PipelineEnd> {
        // The receiver exists as long as nothing failed.
        while let Ok(place) = published.reserve().await {
            let Some(FetchedBatch { items, dead }) = fetched.recv().await else { break };
            self.reject(lead, reading, dead).await?;
            let results = self.publish(lead, reading, items).await?;
            if !results.published.is_empty() {
                place.send(results.published);
            }
            if let Some(error) = results.error {
                return Err(PipelineEnd::Failed("failed to publish intake entries", error));
            }
            self.reject(lead, reading, results.dead).await?;
            if results.is_unfinished {
                return Err(PipelineEnd::HeldUp);
            }
        }
        Ok(())
    }

    async fn publish(
        &self,
        lead: &Leadership,
        reading: &Reading,
        items: Vec<FetchedEntry>,
    ) -> Result<PublishResults, PipelineEnd> {
        if items.is_empty() {
            return Ok(PublishResults::default());
        }
        lead.check()?;
        let (mut entries, mut placed) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for FetchedEntry { id, publication, fields } in items {
            entries.push((id, publication.publication.channel.clone(), fields));
            placed.push((id, publication));
        }
        let events = placed.iter_mut().map(|(_, TimedPublication { publication, .. })| {
            let Publication { channel, event, .. } = publication;
            (&*channel, event)
        });
        let spans = self.tracer.publishing("intake", events);
        let results = self.broker.publish_intake(reading, chain(placed)).await;
        spans.end(results.iter().any(Result::is_err));
        Ok(PublishResults::sort(entries, results, &self.metrics))
    }

    async fn reject(
        &self,
        lead: &Leadership,
        reading: &Reading,
        dead: Vec<DeadLetter>,
    ) -> Result<(), PipelineEnd> {
        if dead.is_empty() {
            return Ok(());
        }
        lead.check()?;
        let rejected = dead.iter().map(|DeadLetter { id, reason, fields, .. }| Rejected {
            id: *id,
            reason: reason.clone(),
            fields: fields.clone(),
        });
        self.broker.reject_intake(reading, rejected.collect()).await.map_err(|error| {
            self.metrics.intake_reject_failed.inc();
            PipelineEnd::Failed("failed to move intake entries to the dead-letter stream", error)
        })?;
        for DeadLetter { id, channel, reason, .. } in dead {
            self.metrics.intake_dead.inc();
            if let Some(held_back) = self.log.admit() {
                tracing::warn!(entry = %id, ?channel, reason, held_back, "moving intake entry to the dead-letter stream: it cannot be published");
            }
        }
        Ok(())
    }
}
