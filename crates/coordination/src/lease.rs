//! The node's lease: a time-limited right to own sessions, renewed by heartbeats.
//!
//! # Layout
//!
//! - `state`: the state of the lease
//! - `heartbeat`: the heartbeats

mod heartbeat;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backoff::Backoff;
use fanfare_broker::{Membership, NodeId, NodeInfo};
use fanfare_config::lease::LeaseConfig;
use fanfare_telemetry::Throttle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::heartbeat::Heartbeat;
pub use self::state::{LeaseState, LeaseStatus};
use crate::metrics::ClusterMetrics;

/// Two running processes use the same node id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node id {id} is in use by another process at {address}")]
pub struct NodeIdInUse {
    /// The node id.
    pub id: NodeId,
    /// The address of the other process.
    pub address: String,
}

/// Returns the number of streams of the node.
pub type CountConnections = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Renews the node's lease with heartbeats. Ends when it is shut down or dropped.
pub struct NodeLease {
    broker: Arc<dyn Membership>,
    info: NodeInfo,
    call: Duration,
    state: watch::Receiver<LeaseState>,
    draining: watch::Sender<bool>,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl NodeLease {
    /// Starts the heartbeats. `info` describes the node; its `connections` and `draining` are set at each heartbeat.
    pub fn start(
        broker: Arc<dyn Membership>,
        info: NodeInfo,
        config: &LeaseConfig,
        connections: CountConnections,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let (state, seen) = watch::channel(LeaseState::starting());
        let (draining, drains) = watch::channel(info.draining);
        let stop = CancellationToken::new();
        let heartbeat = Heartbeat {
            broker: Arc::clone(&broker),
            info: info.clone(),
            ttl: config.ttl,
            interval: config.heartbeat(),
            connections,
            draining: drains,
            state,
            metrics,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            away: Throttle::default(),
            unprepared: Throttle::default(),
        };
        let token = stop.clone();
        let task = tokio::spawn(async move {
            // Every call may be repeated, so it may be cancelled.
            token.run_until_cancelled(heartbeat.run()).await;
        });
        Self { broker, info, call: config.heartbeat(), state: seen, draining, stop: stop.drop_guard(), task }
    }

    /// Returns the state, as a watch that changes with each heartbeat.
    pub fn state(&self) -> watch::Receiver<LeaseState> {
        self.state.clone()
    }

    /// Waits until the lease is held, or the broker is found to be unavailable: then the heartbeats continue in the
    /// background, and the node starts without being ready.
    ///
    /// # Errors
    ///
    /// Fails if another process uses the node id for longer than a dead process could hold its lease.
    pub async fn first(&self) -> Result<(), NodeIdInUse> {
        let mut state = self.state.clone();
        let known =
            |state: &LeaseState| !matches!(state.status, LeaseStatus::Starting | LeaseStatus::Waiting);
        // An error means that the task has ended, which happens only if the node id is in use.
        let _ = state.wait_for(known).await;
        if self.state.borrow().status == LeaseStatus::Foreign { Err(self.node_id_in_use()) } else { Ok(()) }
    }

    /// Waits until another running process is found to use the node id. The node must stop then.
    pub async fn node_id_conflict(&self) -> NodeIdInUse {
        let mut state = self.state.clone();
        if state.wait_for(|state| state.status == LeaseStatus::Foreign).await.is_err() {
            std::future::pending::<()>().await;
        }
        self.node_id_in_use()
    }

    fn node_id_in_use(&self) -> NodeIdInUse {
        NodeIdInUse { id: self.info.id.clone(), address: self.state.borrow().occupant.to_string() }
    }

    /// Sets whether the node is draining, and publishes it with the next heartbeat.
    pub fn set_draining(&self, draining: bool) {
        self.draining.send_replace(draining);
    }

    /// Stops the heartbeats and releases the lease, so that other nodes need not wait for its expiry. Sessions that
    /// the node still holds are swept.
    pub async fn shutdown(self) {
        let Self { broker, info, call, stop, task, .. } = self;
        drop(stop);
        let _ = task.await;
        match tokio::time::timeout(call, broker.leave(&info)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to release the lease; it will expire"),
            Err(_) => {
                tracing::warn!("failed to release the lease: the broker did not answer; it will expire");
            }
        }
    }
}

impl fmt::Debug for NodeLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLease").field("id", &self.info.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
