//! Brings the entries of the ingest stream to their channels.
//!
//! One node of the cluster leads and does all of it; the others stand by. ADR 3 (`docs/adr/`) says why, and why the
//! entries of a channel keep their order.
//!
//! # Layout
//!
//! - `leadership`: being the one node that takes entries
//! - `reading`: from the fields of an entry to a publication
//! - `round`: one call to publish, and what became of each of its entries

mod leadership;
mod reading;
mod round;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_broker::intake::{IntakeEntry, Settlement};
use fanfare_broker::{Broker, BrokerError, NodeId};
use futures_util::future::try_join;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::leadership::{Lapsed, Leadership};
use self::round::{Round, split_first_of_each_channel};
use crate::config::intake::IntakeConfig;
use crate::metrics::cluster::ClusterMetrics;
use crate::throttle::Throttle;
use fanfare_broker::backoff::{Backoff, jittered};

/// The longest wait for a new entry in one call.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often the leader looks for entries that were taken and not settled. It finds some when it gains the lead;
/// afterwards only what reached the broker late, from a leader before it that was cut off.
const AGAIN_EVERY: Duration = Duration::from_secs(15);
/// About how many bytes of data are taken at once at most.
const TAKE_BYTES: usize = 32 * 1024 * 1024;

/// What the intake is told besides its settings.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// This node.
    pub node: NodeId,
    /// `[intake]`.
    pub config: IntakeConfig,
    /// The most data an event may have, in bytes.
    pub max_data: usize,
}

/// The task that leads the intake or stands by. Ends when it is shut down or dropped.
#[derive(Debug)]
pub struct Intake {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Intake {
    /// Starts; does nothing where `enabled` is false.
    pub fn start(broker: Arc<dyn Broker>, settings: IntakeSettings, metrics: Arc<ClusterMetrics>) -> Self {
        let stop = CancellationToken::new();
        let worker = Worker {
            broker,
            settings,
            metrics,
            stop: stop.clone(),
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(1)),
            log: Throttle::default(),
        };
        Self { stop: stop.drop_guard(), task: tokio::spawn(worker.run()) }
    }

    /// Finishes the entries in hand, at most two batches, lets another node lead, and ends. Takes up to a second where
    /// the leader waits for entries, and one failed call where the broker is away: then the entries stay for the next
    /// leader.
    pub async fn shutdown(self) {
        let Self { stop, task } = self;
        drop(stop);
        let _ = task.await;
    }
}

/// Why a leader stops.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// Another node leads, or may.
    Lapsed,
    /// The node is leaving and the broker is away.
    Leaving,
}

impl From<Lapsed> for Stop {
    fn from(_: Lapsed) -> Self {
        Self::Lapsed
    }
}

struct Worker {
    broker: Arc<dyn Broker>,
    settings: IntakeSettings,
    metrics: Arc<ClusterMetrics>,
    stop: CancellationToken,
    backoff: Backoff,
    log: Throttle,
}

impl Worker {
    async fn run(mut self) {
        if !self.settings.config.enabled {
            return;
        }
        while !self.stop.is_cancelled() {
            let IntakeSettings { node, config, .. } = &self.settings;
            match Leadership::gain(&self.broker, node, config.lease, &self.metrics).await {
                Ok(Some(lead)) => {
                    self.lead(lead).await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    self.metrics.intake_lead_failed.inc();
                    self.warn("could not ask for the lead of the intake", &error);
                }
            }
            let wait = jittered(self.settings.config.lease / 3, 0.25);
            self.stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    async fn lead(&mut self, lead: Leadership) {
        tracing::info!("leading the intake");
        self.metrics.intake_leader.set(1);
        let work = lead.during(self.work(&lead)).await;
        let stop = match work {
            Ok(Err(stop)) => stop,
            Err(lapsed) => lapsed.into(),
        };
        match stop {
            Stop::Leaving => lead.resign().await,
            Stop::Lapsed => {
                self.metrics.intake_lead_lost.inc();
                tracing::warn!("lost the lead of the intake");
            }
        }
        self.metrics.intake_leader.set(0);
        self.metrics.intake_lag.set(0.0);
    }

    /// Takes entries until the lead is lost or the node leaves.
    async fn work(&mut self, lead: &Leadership) -> Result<Infallible, Stop> {
        loop {
            // What an earlier leader left half done comes before everything new.
            self.take_again(lead).await?;
            self.take_new(lead).await?;
        }
    }

    /// Finishes what was taken before and not settled. Nothing is in hand before and after.
    async fn take_again(&mut self, lead: &Leadership) -> Result<(), Stop> {
        loop {
            self.check_leaving()?;
            match self.take(lead, true).await? {
                Ok(entries) if entries.is_empty() => return Ok(()),
                Ok(entries) => self.finish(lead, entries).await?,
                Err(error) => self.take_failed(&error).await?,
            }
        }
    }

    /// Finishes new entries as they come, and takes the next while it does. Returns when it is time to look again for
    /// what is not settled, with nothing in hand.
    async fn take_new(&mut self, lead: &Leadership) -> Result<(), Stop> {
        let look_again = Instant::now() + AGAIN_EVERY;
        let mut in_hand = Vec::new();
        while !self.stop.is_cancelled() && Instant::now() < look_again {
            let take = self.take(lead, false);
            // A failure on the one side drops the other: it is about to be over for both.
            let ((), taken) = try_join(self.finish(lead, in_hand), take).await?;
            match taken {
                Ok(entries) => in_hand = entries,
                // It may have been carried out: then there are entries that were taken and not given to us.
                Err(error) => return self.take_failed(&error).await,
            }
        }
        self.finish(lead, in_hand).await?;
        self.check_leaving()
    }

    /// A call that takes entries. Not to be cut short when the node leaves: entries on their way to us would have to
    /// wait until somebody looks again.
    fn take(
        &self,
        lead: &Leadership,
        again: bool,
    ) -> impl Future<Output = Result<Result<Vec<IntakeEntry>, BrokerError>, Stop>> + use<> {
        let IntakeSettings { config, max_data, .. } = self.settings.clone();
        let limit = config.batch.min(TAKE_BYTES / max_data.max(1)).max(1);
        let wait = LONGEST_WAIT.min(config.lease / 3);
        let (broker, metrics, checked) = (Arc::clone(&self.broker), Arc::clone(&self.metrics), lead.check());
        async move {
            checked?;
            let taken = broker.take_intake(again, limit, wait).await;
            if let Ok(entries) = &taken {
                metrics.intake_lag.set(lag(entries).as_secs_f64());
            }
            Ok(taken)
        }
    }

    async fn take_failed(&mut self, error: &BrokerError) -> Result<(), Stop> {
        self.metrics.intake_take_failed.inc();
        self.wait_after("could not take intake entries", error).await
    }

    fn check_leaving(&self) -> Result<(), Stop> {
        if self.stop.is_cancelled() { Err(Stop::Leaving) } else { Ok(()) }
    }

    /// Publishes entries and settles them.
    async fn finish(&mut self, lead: &Leadership, entries: Vec<IntakeEntry>) -> Result<(), Stop> {
        let (mut items, dead) = reading::read(entries, self.settings.max_data);
        self.metrics.intake_dead.inc_by(dead.len() as u64);
        self.settle(lead, dead).await?;
        // After a failure, one entry of each channel at a time: see ADR 3.
        let mut singly = false;
        while !items.is_empty() {
            let rest = if singly { split_first_of_each_channel(&mut items) } else { Vec::new() };
            let batch = items.iter().map(|item| item.publication.clone()).collect();
            lead.check()?;
            let results = self.broker.publish(batch).await;
            let Round { settled, mut failed, error } = Round::sort(items, results, &self.metrics);
            self.settle(lead, settled).await?;
            singly = error.is_some();
            match error {
                Some(error) => self.wait_after("could not publish intake entries", &error).await?,
                None => self.backoff.succeed(),
            }
            failed.extend(rest);
            failed.sort_by_key(|item| item.entry.id);
            items = failed;
        }
        Ok(())
    }

    async fn settle(&mut self, lead: &Leadership, settled: Vec<Settlement>) -> Result<(), Stop> {
        while !settled.is_empty() {
            lead.check()?;
            match self.broker.settle_intake(settled.clone()).await {
                Ok(()) => break,
                Err(error) => {
                    self.metrics.intake_settle_failed.inc();
                    self.wait_after("could not settle intake entries", &error).await?;
                }
            }
        }
        Ok(())
    }

    /// Waits before trying again. A node that is leaving does not wait.
    async fn wait_after(&mut self, what: &'static str, error: &BrokerError) -> Result<(), Stop> {
        self.warn(what, error);
        let wait = tokio::time::sleep(self.backoff.fail());
        self.stop.run_until_cancelled(wait).await.ok_or(Stop::Leaving)
    }

    fn warn(&mut self, what: &'static str, error: &BrokerError) {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(%error, held_back, "{what}");
        }
    }
}

/// How old the oldest of these is. Its id is its time by the broker's clock.
fn lag(entries: &[IntakeEntry]) -> Duration {
    entries.first().map_or(Duration::ZERO, |oldest| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_millis(oldest.id.ms))
    })
}
