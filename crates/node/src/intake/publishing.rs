//! The second stage: publishes batches.

use std::sync::Arc;

use fanfare_broker::Broker;
use fanfare_broker::intake::{Reading, Settlement, chain};
use tokio::sync::mpsc;

use super::Stop;
use super::leadership::Leadership;
use super::patience::Patience;
use super::round::Round;
use super::taking::{Batch, Item};
use crate::metrics::cluster::ClusterMetrics;

pub(super) struct Publishing {
    broker: Arc<dyn Broker>,
    metrics: Arc<ClusterMetrics>,
    patience: Patience,
}

impl Publishing {
    pub(super) fn new(broker: &Arc<dyn Broker>, metrics: &Arc<ClusterMetrics>, patience: Patience) -> Self {
        Self { broker: Arc::clone(broker), metrics: Arc::clone(metrics), patience }
    }

    /// Publishes what was taken, until nothing more comes. What failed for now is tried again until it succeeds: nothing
    /// newer passes it.
    pub(super) async fn run(
        &mut self,
        lead: &Leadership,
        reading: &Reading,
        mut taken: mpsc::Receiver<Batch>,
        published: mpsc::Sender<Vec<Settlement>>,
    ) -> Result<(), Stop> {
        let mut items = Vec::new();
        // The receiver is there as long as we are.
        while let Ok(place) = published.reserve().await {
            let mut settled = Vec::new();
            if items.is_empty() {
                let Some(batch) = taken.recv().await else { break };
                Batch { items, dead: settled } = batch;
            }
            let round = self.publish(lead, reading, items).await?;
            items = round.failed;
            settled.extend(round.settled);
            if !settled.is_empty() {
                place.send(settled);
            }
            match round.error {
                Some(error) => self.patience.after("could not publish intake entries", &error).await?,
                None => self.patience.succeed(),
            }
        }
        Ok(())
    }

    async fn publish(&self, lead: &Leadership, reading: &Reading, items: Vec<Item>) -> Result<Round, Stop> {
        if items.is_empty() {
            return Ok(Round::default());
        }
        lead.check()?;
        // Chained anew in each round: what is settled holds nobody up.
        let entries = chain(items.iter().map(|item| (item.entry.id, item.publication.clone())));
        let results = self.broker.publish_intake(reading, entries).await;
        Ok(Round::sort(items, results, &self.metrics))
    }
}
