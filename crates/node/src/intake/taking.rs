//! The first stage: takes entries, and reads them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_broker::intake::{IntakeEntry, Reading, Settlement};
use fanfare_broker::{Broker, BrokerError};
use fanfare_protocol::publish::Publication;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Stop;
use super::leadership::Leadership;
use super::patience::Patience;
use crate::config::intake::IntakeConfig;
use crate::metrics::cluster::ClusterMetrics;

/// The longest wait for a new entry in one call.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// About how many bytes of data are taken at once at most.
const TAKE_BYTES: usize = 32 * 1024 * 1024;

/// An entry that can be published.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) entry: IntakeEntry,
    pub(super) publication: Publication,
}

/// What one take brought, in order.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// What can never be published. It does not hold the others up.
    pub(super) dead: Vec<Settlement>,
}

pub(super) struct Taking {
    broker: Arc<dyn Broker>,
    metrics: Arc<ClusterMetrics>,
    patience: Patience,
    stop: CancellationToken,
    limit: usize,
    wait: Duration,
    /// The most data an event may have, in bytes.
    max_data: usize,
}

impl Taking {
    pub(super) fn new(
        broker: &Arc<dyn Broker>,
        metrics: &Arc<ClusterMetrics>,
        patience: Patience,
        stop: &CancellationToken,
        config: &IntakeConfig,
        max_data: usize,
    ) -> Self {
        Self {
            broker: Arc::clone(broker),
            metrics: Arc::clone(metrics),
            patience,
            stop: stop.clone(),
            limit: config.batch.min(TAKE_BYTES / max_data.max(1)).max(1),
            wait: LONGEST_WAIT.min(config.lease / 3),
            max_data,
        }
    }

    /// Takes batches until the node leaves or a call fails: it may have been carried out, and then only the next reading
    /// finds what it took. A reading that is over fails too.
    ///
    /// A call is not cut short when the node leaves: its answer is on its way.
    pub(super) async fn run(
        &mut self,
        lead: &Leadership,
        reading: &Reading,
        taken: mpsc::Sender<Batch>,
    ) -> Result<Option<BrokerError>, Stop> {
        // The receiver is there as long as we are.
        while let Ok(place) = taken.reserve().await {
            if self.stop.is_cancelled() {
                break;
            }
            lead.check()?;
            let entries = match self.broker.take_intake(reading, self.limit, self.wait).await {
                Ok(Some(entries)) => entries,
                Ok(None) => {
                    let why = "the ingest stream was deleted, or another node reads it";
                    return Ok(Some(BrokerError::Unavailable(why.into())));
                }
                Err(error) => return Ok(Some(error)),
            };
            self.patience.succeed();
            self.metrics.intake_lag.set(lag(&entries).as_secs_f64());
            if !entries.is_empty() {
                let batch = Batch::read(entries, self.max_data);
                self.metrics.intake_dead.inc_by(batch.dead.len() as u64);
                place.send(batch);
            }
        }
        Ok(None)
    }

    /// Waits before the next reading.
    pub(super) async fn wait_after(&mut self, error: &BrokerError) -> Result<(), Stop> {
        self.metrics.intake_take_failed.inc();
        self.patience.after("could not take intake entries", error).await
    }
}

impl Batch {
    fn read(entries: Vec<IntakeEntry>, max_data: usize) -> Self {
        let mut items = Vec::with_capacity(entries.len());
        let mut dead = Vec::new();
        for entry in entries {
            match Publication::from_fields(&entry.fields, max_data) {
                Ok(publication) => items.push(Item { entry, publication }),
                Err(error) => dead.push(Settlement::Dead(entry, error.to_string())),
            }
        }
        Self { items, dead }
    }
}

/// How old the oldest of these is. Its id is its time by the broker's clock.
fn lag(entries: &[IntakeEntry]) -> Duration {
    entries.first().map_or(Duration::ZERO, |oldest| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_millis(oldest.id.ms))
    })
}
