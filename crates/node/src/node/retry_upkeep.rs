//! Adapts the `retry:` of clients to the cluster.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::{Broker, NodeId};
use fanfare_config::Config;
use fanfare_hub::Hub;
use fanfare_hub::retry::{Failover, RetryPolicy};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often the streams are counted.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often the other nodes are counted, in intervals.
const NODES_EVERY: u32 = 5;
/// Timeout of that.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The task that adapts `retry:`.
#[derive(Debug)]
pub(super) struct RetryUpkeep {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RetryUpkeep {
    /// Starts the task.
    pub(super) fn start(retry: RetryPolicy, broker: &Arc<dyn Broker>, hub: Hub, config: &Config) -> Self {
        let stop = CancellationToken::new();
        let cluster = Cluster { broker: Arc::clone(broker), node: config.node.id.clone(), others: 0 };
        let run = run(cluster, retry, hub, config.limits.connects_per_second);
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            // Dropping it between two steps loses nothing.
            let _ = stopped.run_until_cancelled(run).await;
        });
        Self { stop, task }
    }

    /// Ends the task.
    pub(super) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "retry task panicked");
        }
    }
}

async fn run(mut cluster: Cluster, retry: RetryPolicy, hub: Hub, connects_per_second: u32) {
    for step in 0_u32.. {
        if step.is_multiple_of(NODES_EVERY) {
            cluster.count().await;
        }
        retry.adapt(Failover { streams: hub.connections(), others: cluster.others, connects_per_second });
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The other nodes.
struct Cluster {
    broker: Arc<dyn Broker>,
    node: NodeId,
    /// Number of other nodes that take streams, at the last count.
    others: usize,
}

impl Cluster {
    /// Counts the other nodes. Keeps the last count if Redis does not answer.
    async fn count(&mut self) {
        match timeout(TIMEOUT, self.broker.nodes()).await {
            Ok(Ok(nodes)) => {
                let is_other = |id: &NodeId, draining: bool| *id != self.node && !draining;
                self.others = nodes.iter().filter(|node| is_other(&node.id, node.draining)).count();
            }
            Ok(Err(error)) => tracing::debug!(%error, "failed to count the nodes"),
            Err(_) => tracing::debug!("failed to count the nodes: Redis does not answer"),
        }
    }
}
