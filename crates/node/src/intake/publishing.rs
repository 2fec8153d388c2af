//! The second stage: publishes batches.

use std::sync::Arc;

use fanfare_broker::IntakeQueue;
use fanfare_broker::intake::{Reading, Rejected, chain};
use fanfare_protocol::Position;
use tokio::sync::mpsc;

use super::Stop;
use super::leadership::Leadership;
use super::round::Round;
use super::taking::{Batch, Dead, Item};
use crate::metrics::cluster::ClusterMetrics;
use crate::throttle::Throttle;

pub(super) struct Publishing {
    broker: Arc<dyn IntakeQueue>,
    metrics: Arc<ClusterMetrics>,
    log: Throttle,
}

impl Publishing {
    pub(super) fn new(broker: &Arc<dyn IntakeQueue>, metrics: &Arc<ClusterMetrics>) -> Self {
        Self { broker: Arc::clone(broker), metrics: Arc::clone(metrics), log: Throttle::of_events() }
    }

    /// Publishes batches until the input ends. An entry that can never be published is moved to the dead-letter
    /// stream before newer entries are published: the next leader might be able to publish it, after newer entries.
    ///
    /// An entry that stays unpublished ends the reading: the next reading has it in its order.
    pub(super) async fn run(
        &self,
        lead: &Leadership,
        reading: &Reading,
        mut taken: mpsc::Receiver<Batch>,
        published: mpsc::Sender<Vec<Position>>,
    ) -> Result<(), Stop> {
        // The receiver exists as long as nothing failed.
        while let Ok(place) = published.reserve().await {
            let Some(Batch { items, dead }) = taken.recv().await else { break };
            self.reject(lead, reading, dead).await?;
            let round = self.publish(lead, reading, items).await?;
            if !round.published.is_empty() {
                place.send(round.published);
            }
            if let Some(error) = round.error {
                return Err(Stop::Failed("failed to publish intake entries", error));
            }
            self.reject(lead, reading, round.dead).await?;
            if round.is_unfinished {
                return Err(Stop::HeldUp);
            }
        }
        Ok(())
    }

    async fn publish(&self, lead: &Leadership, reading: &Reading, items: Vec<Item>) -> Result<Round, Stop> {
        if items.is_empty() {
            return Ok(Round::default());
        }
        lead.check()?;
        let (mut entries, mut placed) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
        for Item { id, publication, fields } in items {
            entries.push((id, publication.channel.clone(), fields));
            placed.push((id, publication));
        }
        let results = self.broker.publish_intake(reading, chain(placed)).await;
        Ok(Round::sort(entries, results, &self.metrics))
    }

    async fn reject(&self, lead: &Leadership, reading: &Reading, dead: Vec<Dead>) -> Result<(), Stop> {
        if dead.is_empty() {
            return Ok(());
        }
        lead.check()?;
        let rejected = dead.iter().map(|Dead { id, reason, fields, .. }| Rejected {
            id: *id,
            reason: reason.clone(),
            fields: fields.clone(),
        });
        self.broker.reject_intake(reading, rejected.collect()).await.map_err(|error| {
            self.metrics.intake_reject_failed.inc();
            Stop::Failed("failed to move intake entries to the dead-letter stream", error)
        })?;
        for Dead { id, channel, reason, .. } in dead {
            self.metrics.intake_dead.inc();
            if let Some(held_back) = self.log.admit() {
                tracing::warn!(entry = %id, ?channel, reason, held_back, "moving intake entry to the dead-letter stream: it cannot be published");
            }
        }
        Ok(())
    }
}
