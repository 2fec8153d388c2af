//! Brings the entries of the ingest stream to their channels.
//!
//! One node of the cluster leads and does all of it; the others stand by. ADR 3 (`docs/adr/`) says why, and why the
//! entries of a channel keep their order.
//!
//! # Layout
//!
//! - `leadership`: being the one node that takes entries
//! - `reading`: from the fields of an entry to a publication

mod leadership;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_broker::broker::Published;
use fanfare_broker::intake::{IntakeEntry, Settlement};
use fanfare_broker::{Broker, BrokerError, NodeId};
use fanfare_protocol::Channel;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::leadership::{Lapsed, Leadership};
use self::reading::Item;
use crate::backoff::{Backoff, jittered};
use crate::config::intake::IntakeConfig;
use crate::metrics::cluster::ClusterMetrics;
use crate::throttle::Throttle;

/// The longest wait for a new entry in one call.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How often the leader looks for entries that were taken and not settled. It finds some when it gains the lead;
/// afterwards only what reached the broker late, from a leader before it that was cut off.
const AGAIN_EVERY: Duration = Duration::from_secs(15);

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

    /// Finishes the entries in hand, lets another node lead, and ends. Takes up to a second where the leader is
    /// waiting for entries, and one failed call where the broker is away: then the entries stay for the next leader.
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

    /// Takes entries until the lead is lost or the node leaves.
    async fn lead(&mut self, mut lead: Leadership) {
        tracing::info!("leading the intake");
        self.metrics.intake_leader.set(1);
        match self.take_all(&mut lead).await {
            Stop::Leaving => lead.resign().await,
            Stop::Lapsed => {
                self.metrics.intake_lead_lost.inc();
                tracing::warn!("lost the lead of the intake");
            }
        }
        self.metrics.intake_leader.set(0);
        self.metrics.intake_lag.set(0.0);
    }

    async fn take_all(&mut self, lead: &mut Leadership) -> Stop {
        let IntakeConfig { batch, lease, .. } = self.settings.config;
        let wait = LONGEST_WAIT.min(lease / 3);
        // First what an earlier leader left half done: it comes before everything new.
        let (mut again, mut look_again) = (true, Instant::now());
        loop {
            if self.stop.is_cancelled() {
                return Stop::Leaving;
            }
            if Instant::now() >= look_again {
                again = true;
                look_again = Instant::now() + AGAIN_EVERY;
            }
            let broker = Arc::clone(&self.broker);
            // Not cut short when the node leaves: entries on their way to us would be lost until somebody looks again.
            let taken = lead.during(broker.take_intake(&self.settings.node, again, batch, wait)).await;
            let ended = match taken {
                Ok(Ok(entries)) => {
                    self.backoff.succeed();
                    again = again && !entries.is_empty();
                    self.show_lag(&entries);
                    self.finish(lead, entries).await
                }
                Ok(Err(error)) => {
                    // It may have been carried out: then there are entries that were taken and not given to us.
                    again = true;
                    self.metrics.intake_take_failed.inc();
                    self.wait_after(lead, "could not take intake entries", &error).await
                }
                Err(lapsed) => Err(lapsed.into()),
            };
            if let Err(stop) = ended {
                return stop;
            }
        }
    }

    /// Publishes entries and settles them; nothing is taken before all of them are settled.
    async fn finish(&mut self, lead: &mut Leadership, entries: Vec<IntakeEntry>) -> Result<(), Stop> {
        let (mut items, dead) = reading::read(entries, self.settings.max_data);
        self.metrics.intake_dead.inc_by(dead.len() as u64);
        self.settle(lead, dead).await?;
        // After a failure, one entry of each channel at a time: see ADR 3.
        let mut singly = false;
        while !items.is_empty() {
            let rest = if singly { split_first_of_each_channel(&mut items) } else { Vec::new() };
            let batch = items.iter().map(|item| item.publication.clone()).collect();
            let broker = Arc::clone(&self.broker);
            let results = lead.during(broker.publish(batch)).await?;
            let Round { settled, mut failed, error } = self.sort(items, results);
            self.settle(lead, settled).await?;
            singly = error.is_some();
            if let Some(error) = error {
                self.wait_after(lead, "could not publish intake entries", &error).await?;
            } else {
                self.backoff.succeed();
            }
            if !rest.is_empty() {
                failed.extend(rest);
                failed.sort_by_key(|item| item.entry.id);
            }
            items = failed;
        }
        Ok(())
    }

    /// What became of each item of a batch.
    fn sort(&self, items: Vec<Item>, results: Vec<Result<Published, BrokerError>>) -> Round {
        let mut round = Round::default();
        let mut held_up: HashSet<Channel> = HashSet::new();
        let missing = std::iter::repeat_with(|| Err(BrokerError::Unavailable("no result".into())));
        for (item, result) in items.into_iter().zip(results.into_iter().chain(missing)) {
            match result {
                Ok(published) => {
                    if published.repeat {
                        self.metrics.intake_repeat.inc();
                    } else if held_up.contains(&item.publication.channel) {
                        self.metrics.intake_reordered.inc();
                    }
                    self.metrics.intake_done.inc();
                    round.settled.push(Settlement::Done(item.entry.id));
                }
                Err(error) if error.is_passing() => {
                    self.metrics.intake_retried.inc();
                    held_up.insert(item.publication.channel.clone());
                    round.failed.push(item);
                    round.error.get_or_insert(error);
                }
                Err(error) => {
                    self.metrics.intake_dead.inc();
                    round.settled.push(Settlement::Dead(item.entry, error.to_string()));
                }
            }
        }
        round
    }

    async fn settle(&mut self, lead: &mut Leadership, settled: Vec<Settlement>) -> Result<(), Stop> {
        if settled.is_empty() {
            return Ok(());
        }
        loop {
            let broker = Arc::clone(&self.broker);
            match lead.during(broker.settle_intake(settled.clone())).await? {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.metrics.intake_settle_failed.inc();
                    self.wait_after(lead, "could not settle intake entries", &error).await?;
                }
            }
        }
    }

    /// Waits before trying again, and keeps the lead meanwhile. A node that is leaving does not wait.
    async fn wait_after(
        &mut self,
        lead: &mut Leadership,
        what: &'static str,
        error: &BrokerError,
    ) -> Result<(), Stop> {
        self.warn(what, error);
        let wait = tokio::time::sleep(self.backoff.fail());
        match lead.during(self.stop.run_until_cancelled(wait)).await? {
            Some(()) => Ok(()),
            None => Err(Stop::Leaving),
        }
    }

    fn show_lag(&self, entries: &[IntakeEntry]) {
        let lag = entries.first().map_or(Duration::ZERO, |oldest| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            now.saturating_sub(Duration::from_millis(oldest.id.ms))
        });
        self.metrics.intake_lag.set(lag.as_secs_f64());
    }

    fn warn(&mut self, what: &'static str, error: &BrokerError) {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(%error, held_back, "{what}");
        }
    }
}

/// What became of one call to publish.
#[derive(Default)]
struct Round {
    /// Published, or never to be.
    settled: Vec<Settlement>,
    /// To be tried again, in order.
    failed: Vec<Item>,
    /// The first failure.
    error: Option<BrokerError>,
}

/// Leaves the first item of each channel, and answers the others; both keep their order.
fn split_first_of_each_channel(items: &mut Vec<Item>) -> Vec<Item> {
    let mut seen: HashSet<Channel> = HashSet::new();
    let (first, rest) =
        std::mem::take(items).into_iter().partition(|item| seen.insert(item.publication.channel.clone()));
    *items = first;
    rest
}
