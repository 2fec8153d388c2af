//! The intake: publishes the entries of the ingest stream to their channels.
//!
//! One node of the cluster leads and does all the work; the others stand by. ADR 3 (`docs/adr/`) has the reasons, and
//! why each entry is stored once and the entries of a channel keep their order.
//!
//! While one batch is acknowledged, the next one is published and the one after it is read; no stage has more than
//! one batch.
//!
//! # Layout
//!
//! - `leadership`: leadership of the intake
//! - `taking`: the first stage: reads entries and parses them
//! - `publishing`: the second stage: publishes them
//! - `round`: results of one publish call
//! - `settling`: the last stage: acknowledges them

mod leadership;
mod publishing;
mod round;
mod settling;
mod taking;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backoff::{Backoff, jittered};
use fanfare_broker::intake::Reading;
use fanfare_broker::{BrokerError, IntakeQueue, NodeId};
use futures_util::future::{Either, select, try_join};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::leadership::{Lapsed, Leadership};
use self::publishing::Publishing;
use self::settling::Settling;
use self::taking::Taking;
use crate::config::intake::IntakeConfig;
use crate::metrics::cluster::ClusterMetrics;
use crate::throttle::Throttle;

/// The first and the longest wait after a failure.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Settings of the intake.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// The node id.
    pub node: NodeId,
    /// `[intake]`.
    pub config: IntakeConfig,
    /// Maximum size of an event's data, in bytes.
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
    pub fn start(
        broker: Arc<dyn IntakeQueue>,
        settings: IntakeSettings,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let stop = CancellationToken::new();
        let IntakeSettings { node, config, max_data } = settings;
        let worker = Worker {
            taking: Taking::new(&broker, &metrics, &stop, &config, max_data),
            publishing: Publishing::new(&broker, &metrics),
            settling: Settling::new(&broker, &metrics),
            broker,
            node,
            config,
            metrics,
            stop: stop.clone(),
            backoff: Backoff::new(FIRST_REST, LONGEST_REST),
            log: Throttle::default(),
        };
        Self { stop: stop.drop_guard(), task: tokio::spawn(worker.run()) }
    }

    /// Finishes the entries in hand, at most three batches, lets another node lead, and ends. Takes up to a second
    /// where the leader waits for entries, and one failed call where the broker is away: then the entries stay for
    /// the next leader.
    pub async fn shutdown(self) {
        let Self { stop, task } = self;
        drop(stop);
        let _ = task.await;
    }
}

/// Why a reading ends.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// Another node leads, or may.
    Lapsed,
    /// A call failed, which one and why.
    Failed(&'static str, BrokerError),
    /// Entries wait behind one that is dead now.
    HeldUp,
}

impl From<Lapsed> for Stop {
    fn from(_: Lapsed) -> Self {
        Self::Lapsed
    }
}

struct Worker {
    broker: Arc<dyn IntakeQueue>,
    node: NodeId,
    config: IntakeConfig,
    metrics: Arc<ClusterMetrics>,
    stop: CancellationToken,
    taking: Taking,
    publishing: Publishing,
    settling: Settling,
    backoff: Backoff,
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
                        tracing::warn!(%error, held_back, "failed to acquire the intake leadership");
                    }
                }
            }
            let wait = jittered(self.config.lease / 3, 0.25);
            self.stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
    }

    async fn lead(&mut self, lead: Leadership) {
        tracing::info!("became intake leader");
        self.metrics.intake_leader.set(1);
        let work = lead.during(self.work(&lead)).await.flatten();
        if work.is_ok() {
            lead.resign().await;
        } else {
            self.metrics.intake_lead_lost.inc();
            tracing::warn!("lost the intake leadership");
        }
        self.metrics.intake_leader.set(0);
        self.metrics.intake_lag.set(0.0);
    }

    /// Reads the stream until the node shuts down or the leadership is lost. Any failure ends a reading, and the next
    /// one starts at the oldest entry: so unfinished entries, of this or of an earlier leader, come before all new
    /// ones.
    async fn work(&mut self, lead: &Leadership) -> Result<(), Lapsed> {
        while !self.stop.is_cancelled() {
            lead.check()?;
            let begun = Instant::now();
            let done = match self.broker.read_intake(&self.node).await {
                Ok(Some(reading)) => self.carry(lead, &reading).await,
                Ok(None) => Err(Stop::Lapsed),
                Err(error) => {
                    self.metrics.intake_take_failed.inc();
                    Err(Stop::Failed("failed to start reading the ingest stream", error))
                }
            };
            if begun.elapsed() >= LONGEST_REST {
                self.backoff.succeed();
            }
            match done {
                Ok(()) | Err(Stop::HeldUp) => {}
                Err(Stop::Failed(what, error)) => self.rest(what, &error).await,
                Err(Stop::Lapsed) => return Err(Lapsed),
            }
        }
        Ok(())
    }

    /// Brings the entries of one reading to their channels until the node leaves or something fails. What was
    /// published by then is settled.
    async fn carry(&mut self, lead: &Leadership, reading: &Reading) -> Result<(), Stop> {
        // A stage starts a batch when the next stage has room for it, so at most three batches are in progress.
        let (taken, to_publish) = mpsc::channel(1);
        let (published, to_settle) = mpsc::channel(1);
        let take = self.taking.run(lead, reading, taken);
        let publish = self.publishing.run(lead, reading, to_publish, published);
        // If one of them fails, both end, and so does the input of the last stage.
        let bring = pin!(async { try_join(take, publish).await.map(|_| ()) });
        let settle = pin!(self.settling.run(lead, reading, to_settle));
        match select(bring, settle).await {
            Either::Left((brought, settle)) => settle.await.and(brought),
            // The last stage succeeds only after its input ended.
            Either::Right((settled, bring)) => match settled {
                Ok(()) => bring.await,
                Err(stop) => Err(stop),
            },
        }
    }

    /// Waits after a failure, unless the node shuts down.
    async fn rest(&mut self, what: &'static str, error: &BrokerError) {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(%error, held_back, "{what}");
        }
        self.stop.run_until_cancelled(tokio::time::sleep(self.backoff.fail())).await;
    }
}
