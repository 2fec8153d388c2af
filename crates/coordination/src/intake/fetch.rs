//! The first stage: reads entries and parses them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::intake::{IntakeEntry, Reading, channel_of};
use fanfare_broker::{IntakeQueue, clock};
use fanfare_config::intake::IntakeConfig;
use fanfare_protocol::Position;
use fanfare_protocol::publish::TimedPublication;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::PipelineEnd;
use super::id_check::IdCheck;
use super::leadership::Leadership;
use crate::metrics::ClusterMetrics;

/// Maximum time for which one call waits for a new entry.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Approximate maximum size of one batch, in bytes, however large its entries are.
const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;
/// Approximate size of one batch, in bytes, if its entries are as large as the largest ones before: Redis copies them
/// and does nothing else meanwhile.
const TARGET_BATCH_BYTES: usize = 1024 * 1024;

/// An entry that can be published.
#[derive(Debug)]
pub(super) struct FetchedEntry {
    pub(super) id: Position,
    pub(super) publication: TimedPublication,
    /// The fields as they were read, in case Redis refuses the entry.
    pub(super) fields: Fields,
}

/// The fields of an entry in order.
pub(super) type Fields = Vec<(Bytes, Bytes)>;

/// One batch, in order.
#[derive(Debug)]
pub(super) struct FetchedBatch {
    pub(super) items: Vec<FetchedEntry>,
    /// Entries that can never be published.
    pub(super) dead: Vec<DeadLetter>,
}

/// An entry that can never be published.
#[derive(Debug)]
pub(super) struct DeadLetter {
    pub(super) id: Position,
    /// The entry's channel, as far as it may be logged.
    pub(super) channel: String,
    /// The reason, for the publisher.
    pub(super) reason: String,
    pub(super) fields: Fields,
}

pub(super) struct Fetcher {
    broker: Arc<dyn IntakeQueue>,
    metrics: Arc<ClusterMetrics>,
    ids: Arc<IdCheck>,
    stop: CancellationToken,
    /// Maximum number of entries in a batch.
    most: usize,
    wait: Duration,
    /// Maximum size of an event's data, in bytes.
    max_data: usize,
}

impl Fetcher {
    pub(super) fn new(
        broker: &Arc<dyn IntakeQueue>,
        metrics: &Arc<ClusterMetrics>,
        ids: &Arc<IdCheck>,
        stop: &CancellationToken,
        config: &IntakeConfig,
        max_data: usize,
    ) -> Self {
        let most = config.batch.min(MAX_BATCH_BYTES / max_data.max(1)).max(1);
        Self {
            broker: Arc::clone(broker),
            metrics: Arc::clone(metrics),
            ids: Arc::clone(ids),
            stop: stop.clone(),
            most,
            wait: LONGEST_WAIT.min(config.lease / 3),
            max_data,
        }
    }

    /// Reads batches until the node shuts down: one entry, then two, then four, since the reading before may have
    /// failed because entries were too large together. A call in progress is not cancelled at the shutdown, since its
    /// reply is on the way. A failed call ends the reading: it may have been carried out, and only the next reading
    /// has its entries then.
    pub(super) async fn run(
        &self,
        lead: &Leadership,
        reading: &Reading,
        fetched: mpsc::Sender<FetchedBatch>,
    ) -> Result<(), PipelineEnd> {
        let mut limit = 1;
        // The receiver exists as long as nothing failed.
        while let Ok(place) = fetched.reserve().await {
            if self.stop.is_cancelled() {
                break;
            }
            lead.check()?;
            let entries = self.broker.take_intake(reading, limit, self.wait).await.map_err(|error| {
                self.metrics.intake_fetch_failed.inc();
                PipelineEnd::Failed("failed to read intake entries", error)
            })?;
            let target =
                TARGET_BATCH_BYTES / entries.iter().map(IntakeEntry::bytes).max().unwrap_or(1).max(1);
            limit = (2 * limit).min(self.most).min(target.max(1));
            self.metrics.intake_lag.set(lag(&entries).as_secs_f64());
            if entries.is_empty() {
                // No entry may be able to come.
                self.ids.run(lead, reading).await?;
            } else {
                place.send(FetchedBatch::read(entries, self.max_data));
            }
        }
        Ok(())
    }
}

impl FetchedBatch {
    fn read(entries: Vec<IntakeEntry>, max_data: usize) -> Self {
        let mut items = Vec::with_capacity(entries.len());
        let mut dead = Vec::new();
        for entry in entries {
            match TimedPublication::from_fields(&entry.fields, max_data) {
                Ok(publication) => {
                    items.push(FetchedEntry { id: entry.id, publication, fields: entry.fields });
                }
                Err(error) => {
                    let channel = channel_of(&entry.fields);
                    let reason = error.to_string();
                    dead.push(DeadLetter { id: entry.id, channel, reason, fields: entry.fields });
                }
            }
        }
        Self { items, dead }
    }
}

/// Returns the age of the oldest entry, whose id is a time of the broker's clock.
fn lag(entries: &[IntakeEntry]) -> Duration {
    entries.first().map_or(Duration::ZERO, |oldest| {
        clock::unix_now().saturating_sub(Duration::from_millis(oldest.id.ms))
    })
}
