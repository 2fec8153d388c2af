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
//! - `fetch`: the first stage: reads entries and parses them
//! - `publish`: the second stage: publishes them
//! - `publish_results`: results of one publish call
//! - `acknowledge`: the last stage: acknowledges them
//! - `id_check`: replaces a stream whose ids are far ahead of the clock

mod acknowledge;
mod fetch;
mod id_check;
mod leadership;
mod publish;
mod publish_results;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backoff::{Backoff, jittered};
use fanfare_broker::intake::Reading;
use fanfare_broker::{BrokerError, IntakeQueue, NodeId};
use fanfare_config::intake::IntakeConfig;
use fanfare_telemetry::Throttle;
use fanfare_telemetry::traces::Tracer;
use futures_util::future::{Either, select, try_join};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::acknowledge::Acknowledger;
use self::fetch::Fetcher;
use self::id_check::IdCheck;
use self::leadership::{Leadership, LeadershipLost};
use self::publish::Publisher;
use crate::metrics::ClusterMetrics;

/// First and longest wait after a failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// Settings of the intake.
#[derive(Clone, Debug)]
pub struct IntakeSettings {
    /// The node id.
    pub node: NodeId,
    /// `[intake]`.
    pub config: IntakeConfig,
    /// Maximum size of an event's data, in bytes.
    pub max_data: usize,
    /// Makes the spans of traced entries.
    pub tracer: Tracer,
}

/// The task that leads the intake or stands by. Ends when it is shut down or dropped.
#[derive(Debug)]
pub struct Intake {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Intake {
    /// Starts the task, which does nothing if `intake.enabled` is false.
    pub fn start(
        broker: Arc<dyn IntakeQueue>,
        settings: IntakeSettings,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let stop = CancellationToken::new();
        let IntakeSettings { node, config, max_data, tracer } = settings;
        let ids = Arc::new(IdCheck::new(&broker, &metrics));
        let worker = Worker {
            fetcher: Fetcher::new(&broker, &metrics, &ids, &stop, &config, max_data),
            publisher: Publisher::new(&broker, &metrics, tracer),
            acknowledger: Acknowledger::new(&broker, &metrics, ids),
            broker,
            node,
            config,
            metrics,
            stop: stop.clone(),
            backoff: Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF),
            log: Throttle::default(),
        };
        Self { stop: stop.drop_guard(), task: tokio::spawn(worker.run()) }
    }

    /// Finishes the entries in progress, at most three batches, releases the leadership, and ends. Takes up to a second
    /// if the leader waits for entries, and one failed call if the broker is unavailable: then the entries stay for the
    /// next leader.
    pub async fn shutdown(self) {
        let Self { stop, task } = self;
        drop(stop);
        let _ = task.await;
    }
}

/// Why the pipeline of one reading ended.
#[derive(Debug, PartialEq, Eq)]
enum PipelineEnd {
    /// Another node leads, or may lead.
    LeadershipLost,
    /// A call failed: which one, and why.
    Failed(&'static str, BrokerError),
    /// Entries wait behind one that is moved to the dead-letter stream.
    HeldUp,
    /// The stream was replaced.
    Replaced,
}

impl From<LeadershipLost> for PipelineEnd {
    fn from(_: LeadershipLost) -> Self {
        Self::LeadershipLost
    }
}

struct Worker {
    broker: Arc<dyn IntakeQueue>,
    node: NodeId,
    config: IntakeConfig,
    metrics: Arc<ClusterMetrics>,
    stop: CancellationToken,
    fetcher: Fetcher,
    publisher: Publisher,
    acknowledger: Acknowledger,
    backoff: Backoff,
    log: Throttle,
}

impl Worker {
    async fn run(mut self) {
        if !self.config.enabled {
            return;
        }
        while !self.stop.is_cancelled() {
            match Leadership::acquire(&self.broker, &self.node, self.config.lease, &self.metrics).await {
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
            lead.release().await;
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
    async fn work(&mut self, lead: &Leadership) -> Result<(), LeadershipLost> {
        while !self.stop.is_cancelled() {
            lead.check()?;
            let begun = Instant::now();
            let done = match self.broker.read_intake(&self.node).await {
                Ok(Some(reading)) => self.run_pipeline(lead, &reading).await,
                Ok(None) => Err(PipelineEnd::LeadershipLost),
                Err(error) => {
                    self.metrics.intake_fetch_failed.inc();
                    Err(PipelineEnd::Failed("failed to start reading the ingest stream", error))
                }
            };
            if begun.elapsed() >= LONGEST_BACKOFF {
                self.backoff.succeed();
            }
            match done {
                Ok(()) | Err(PipelineEnd::HeldUp | PipelineEnd::Replaced) => {}
                Err(PipelineEnd::Failed(what, error)) => self.back_off(what, &error).await,
                Err(PipelineEnd::LeadershipLost) => return Err(LeadershipLost),
            }
        }
        Ok(())
    }

    /// Publishes the entries of one reading to their channels until the node shuts down or a call fails. Entries that
    /// were published by then are acknowledged.
    async fn run_pipeline(&mut self, lead: &Leadership, reading: &Reading) -> Result<(), PipelineEnd> {
        // A stage starts a batch when the next stage has room for it, so at most three batches are in progress.
        let (fetched, to_publish) = mpsc::channel(1);
        let (published, to_acknowledge) = mpsc::channel(1);
        let fetch = self.fetcher.run(lead, reading, fetched);
        let publish = self.publisher.run(lead, reading, to_publish, published);
        // If one of them fails, both end, and so does the input of the last stage.
        let upstream = pin!(async { try_join(fetch, publish).await.map(|_| ()) });
        let acknowledge = pin!(self.acknowledger.run(lead, reading, to_acknowledge));
        match select(upstream, acknowledge).await {
            Either::Left((result, acknowledge)) => acknowledge.await.and(result),
            // The last stage succeeds only after its input ended.
            Either::Right((acknowledged, upstream)) => match acknowledged {
                Ok(()) => upstream.await,
                Err(stop) => Err(stop),
            },
        }
    }

    /// Waits after a failure, unless the node shuts down.
    async fn back_off(&mut self, what: &'static str, error: &BrokerError) {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(%error, held_back, "{what}");
        }
        self.stop.run_until_cancelled(tokio::time::sleep(self.backoff.fail())).await;
    }
}
