//! Brings the entries of the ingest stream to their channels.
//!
//! One node of the cluster leads and does all of it; the others stand by. ADR 3 (`docs/adr/`) says why, and why each
//! entry lands once and the entries of a channel keep their order.
//!
//! While one batch is settled, the next is published and the one after it is taken; no stage has more than one in hand.
//!
//! # Layout
//!
//! - `leadership`: being the one node that takes entries
//! - `taking`: the first stage; from the fields of an entry to a publication
//! - `publishing`: the second
//! - `round`: one call to publish, and what became of each of its entries
//! - `settling`: the last
//! - `patience`: waiting after a call that failed

mod leadership;
mod patience;
mod publishing;
mod round;
mod settling;
mod taking;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;

use fanfare_broker::backoff::jittered;
use fanfare_broker::intake::Reading;
use fanfare_broker::{Broker, BrokerError, NodeId};
use futures_util::future::try_join3;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::leadership::{Lapsed, Leadership};
use self::patience::Patience;
use self::publishing::Publishing;
use self::settling::Settling;
use self::taking::Taking;
use crate::config::intake::IntakeConfig;
use crate::metrics::cluster::ClusterMetrics;
use crate::throttle::Throttle;

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
        let IntakeSettings { node, config, max_data } = settings;
        let patience = || Patience::new(stop.clone());
        let worker = Worker {
            taking: Taking::new(&broker, &metrics, patience(), &stop, &config, max_data),
            publishing: Publishing::new(&broker, &metrics, patience()),
            settling: Settling::new(&broker, &metrics, patience()),
            broker,
            node,
            config,
            metrics,
            stop: stop.clone(),
            log: Throttle::default(),
        };
        Self { stop: stop.drop_guard(), task: tokio::spawn(worker.run()) }
    }

    /// Finishes the entries in hand, at most three batches, lets another node lead, and ends. Takes up to a second where
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
    node: NodeId,
    config: IntakeConfig,
    metrics: Arc<ClusterMetrics>,
    stop: CancellationToken,
    taking: Taking,
    publishing: Publishing,
    settling: Settling,
    /// Of calls for the lead.
    log: Throttle,
}

impl Worker {
    async fn run(mut self) {
        if !self.config.enabled {
            return;
        }
        while !self.stop.is_cancelled() {
            match Leadership::gain(&self.broker, &self.node, self.config.lease, &self.metrics).await {
                Ok(Some(lead)) => {
                    self.lead(lead).await;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    self.metrics.intake_lead_failed.inc();
                    if let Some(held_back) = self.log.admit() {
                        tracing::warn!(%error, held_back, "could not ask for the lead of the intake");
                    }
                }
            }
            let wait = jittered(self.config.lease / 3, 0.25);
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

    /// Reads the stream until the lead is lost or the node leaves. What an earlier leader left half done, or a take whose
    /// answer was lost, comes before everything new, since each reading begins at the oldest entry.
    async fn work(&mut self, lead: &Leadership) -> Result<Infallible, Stop> {
        while !self.stop.is_cancelled() {
            lead.check()?;
            let failed = match self.broker.read_intake(&self.node).await {
                Ok(Some(reading)) => self.carry(lead, &reading).await?,
                Ok(None) => return Err(Stop::Lapsed),
                Err(error) => Some(error),
            };
            if let Some(error) = failed {
                self.taking.wait_after(&error).await?;
            }
        }
        Err(Stop::Leaving)
    }

    /// Brings the entries of one reading to their channels until the node leaves or a take fails, and finishes what is in
    /// hand then. A stage that has to stop drops the others: it is about to be over for all.
    async fn carry(&mut self, lead: &Leadership, reading: &Reading) -> Result<Option<BrokerError>, Stop> {
        // A stage takes up a batch when it has the next one's only place for it: so at most three are in hand.
        let (taken, to_publish) = mpsc::channel(1);
        let (published, to_settle) = mpsc::channel(1);
        let take = self.taking.run(lead, reading, taken);
        let publish = self.publishing.run(lead, reading, to_publish, published);
        let settle = self.settling.run(lead, reading, to_settle);
        let (failed, (), ()) = try_join3(take, publish, settle).await?;
        Ok(failed)
    }
}
