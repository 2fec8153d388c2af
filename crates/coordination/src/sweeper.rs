//! The sweeper: removes the sessions of dead nodes.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backoff::jittered;
use fanfare_broker::lease::Swept;
use fanfare_broker::{Membership, NodeId};
use fanfare_config::lease::LeaseConfig;
use fanfare_telemetry::Throttle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::lease::LeaseState;
use crate::metrics::ClusterMetrics;

/// The task that sweeps periodically. Each node has one, and the broker lets one node sweep at a time. Ends when it
/// is shut down or dropped.
#[derive(Debug)]
pub struct Sweeper {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Sweeper {
    /// Starts sweeping, while `lease` is held.
    pub fn start(
        broker: Arc<dyn Membership>,
        node: NodeId,
        config: &LeaseConfig,
        lease: watch::Receiver<LeaseState>,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let stop = CancellationToken::new();
        let (ttl, every) = (config.ttl, config.sweep_every());
        let sweep = Sweep { broker, node, ttl, every, lease, metrics, log: Throttle::default() };
        let token = stop.clone();
        let task = tokio::spawn(async move {
            // A cancelled sweep is finished by the next one, here or on another node.
            token.run_until_cancelled(sweep.run()).await;
        });
        Self { stop: stop.drop_guard(), task }
    }

    /// Ends the task.
    pub async fn shutdown(self) {
        let Self { stop, task } = self;
        drop(stop);
        let _ = task.await;
    }
}

struct Sweep {
    broker: Arc<dyn Membership>,
    node: NodeId,
    /// Duration of the sweeper's lock.
    ttl: Duration,
    every: Duration,
    lease: watch::Receiver<LeaseState>,
    metrics: Arc<ClusterMetrics>,
    log: Throttle,
}

impl Sweep {
    async fn run(mut self) {
        loop {
            tokio::time::sleep(jittered(self.every, 0.25)).await;
            self.sweep().await;
        }
    }

    /// Performs steps until one is not full. Each step is short.
    async fn sweep(&mut self) {
        // Without a lease the node would sweep its own sessions, so the lease must outlast the call.
        let limit = self.ttl / 3;
        let mut done = Swept::default();
        while self.lease.borrow().held_for(limit) {
            match tokio::time::timeout(limit, self.broker.sweep(&self.node, self.ttl)).await {
                Ok(Ok(step)) => {
                    self.metrics.count_swept(&step);
                    done += step;
                }
                Ok(Err(error)) => self.failed(&error.to_string()),
                Err(_) => self.failed(&format!("no answer within {limit:?}")),
            }
            if !std::mem::take(&mut done.more) {
                break;
            }
            tokio::task::yield_now().await;
        }
        if let Some(fault) = &done.fault {
            self.warn(&fault.to_string());
        }
        if done.sessions > 0 {
            tracing::info!(sessions = done.sessions, "removed sessions of dead nodes");
        }
    }

    fn failed(&mut self, error: &str) {
        self.metrics.sweeps_failed.inc();
        self.warn(error);
    }

    fn warn(&mut self, error: &str) {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(error, held_back, "failed to sweep sessions of dead nodes");
        }
    }
}

#[cfg(test)]
mod tests;
