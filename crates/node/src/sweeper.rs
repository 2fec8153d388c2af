//! Removes the sessions of dead nodes.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::{Broker, NodeId};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::lease::LeaseConfig;
use crate::lease::LeaseState;
use crate::metrics::cluster::ClusterMetrics;
use crate::throttle::Throttle;
use fanfare_broker::backoff::jittered;

/// The task that asks for a sweep now and then. Each node has one, and the broker lets one at a time sweep. Ends when
/// it is shut down or dropped.
#[derive(Debug)]
pub struct Sweeper {
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Sweeper {
    /// Starts sweeping, while `lease` is held.
    pub fn start(
        broker: Arc<dyn Broker>,
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
            // A sweep that is cut short is finished by the next one, here or elsewhere.
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
    broker: Arc<dyn Broker>,
    node: NodeId,
    /// How long the broker lets the one who sweeps keep the others out.
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

    async fn sweep(&mut self) {
        // Without a lease we would sweep up ourselves, so it must last longer than the call may take.
        let limit = self.ttl / 3;
        while self.lease.borrow().held_for(limit) {
            let swept = tokio::time::timeout(limit, self.broker.sweep(&self.node, self.ttl)).await;
            let error = match swept {
                // Nothing was left, or another node is at it.
                Ok(Ok(0)) => return,
                Ok(Ok(swept)) => {
                    self.metrics.swept.inc_by(swept as u64);
                    tracing::info!(swept, "removed sessions of nodes that are gone");
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {limit:?}"),
            };
            self.metrics.sweeps_failed.inc();
            if let Some(held_back) = self.log.admit() {
                tracing::warn!(error, held_back, "could not look for sessions of nodes that are gone");
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests;
