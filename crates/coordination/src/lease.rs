//! The node's lease: a time-limited right to own sessions, renewed by heartbeats.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_broker::backoff::{Backoff, jittered};
use fanfare_broker::lease::LeaseOutcome;
use fanfare_broker::{BrokerError, Membership, NodeId, NodeInfo, Outage};
use fanfare_config::lease::LeaseConfig;
use fanfare_telemetry::Throttle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::metrics::ClusterMetrics;

/// Status of the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    /// The broker has not answered yet.
    Starting,
    /// Another process with the same node id may be dead: its lease has not expired yet.
    Waiting,
    /// The last heartbeat succeeded.
    Held,
    /// The last heartbeat failed.
    Unavailable,
    /// Another running process uses the node id: this one must stop.
    Foreign,
}

/// State of the lease, for other parts of the node.
#[derive(Clone, Debug)]
pub struct LeaseState {
    /// Status of the lease.
    pub status: LeaseStatus,
    /// Until when the node certainly holds the lease, by its own clock.
    pub until: Option<Instant>,
    /// Time of the last change of the status.
    pub since: SystemTime,
    /// Why the last heartbeat failed; `None` unless the status is `Unavailable`.
    pub outage: Option<Outage>,
    /// Address of the other process with this node id; empty unless the status is `Waiting` or `Foreign`.
    pub occupant: Arc<str>,
    /// Number of acquisitions. Beyond 1, the lease had expired, and other nodes may have removed this node's
    /// sessions.
    pub acquisitions: u64,
}

impl LeaseState {
    /// Creates a lease held until a moment: for tests, and for a node that is alone.
    pub fn held_until(until: Instant) -> Self {
        Self { status: LeaseStatus::Held, until: Some(until), acquisitions: 1, ..Self::starting() }
    }

    fn starting() -> Self {
        Self {
            status: LeaseStatus::Starting,
            until: None,
            since: SystemTime::now(),
            outage: None,
            occupant: "".into(),
            acquisitions: 0,
        }
    }

    /// Returns whether the node holds the lease. False as soon as it may have expired, also if the process was
    /// paused.
    pub fn held(&self) -> bool {
        self.held_for(Duration::ZERO)
    }

    /// Returns whether the node holds the lease for at least `time`, without another heartbeat.
    pub(crate) fn held_for(&self, time: Duration) -> bool {
        self.until.is_some_and(|until| Instant::now() + time < until)
    }
}

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

/// The heartbeat's task.
struct Heartbeat {
    broker: Arc<dyn Membership>,
    info: NodeInfo,
    ttl: Duration,
    /// Interval between heartbeats, and timeout of a call.
    interval: Duration,
    connections: CountConnections,
    draining: watch::Receiver<bool>,
    state: watch::Sender<LeaseState>,
    metrics: Arc<ClusterMetrics>,
    backoff: Backoff,
    away: Throttle,
    unprepared: Throttle,
}

impl Heartbeat {
    async fn run(mut self) {
        if self.enter().await.is_err() {
            return;
        }
        let mut next = Instant::now() + self.interval;
        loop {
            // Both branches are cancel-safe.
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                Ok(()) = self.draining.changed() => {}
            }
            let sent = Instant::now();
            next = sent + self.interval;
            match self.lease().await {
                // The lease may have been acquired again by a call without a reply; this call only renews it then.
                Ok(LeaseOutcome::Renewed) if self.state.borrow().held() => self.held(sent, false),
                Ok(LeaseOutcome::Renewed | LeaseOutcome::Taken) => {
                    tracing::warn!(id = %self.info.id, "lease expired; acquired again");
                    self.held(sent, true);
                }
                Ok(LeaseOutcome::Foreign) => {
                    let occupant = self.occupant().await.ok().flatten();
                    return self.foreign(occupant.unwrap_or_else(Occupied::unknown));
                }
                Err(error) => {
                    next = next.min(Instant::now() + self.failed(&error));
                    continue;
                }
            }
            self.prepare().await;
        }
    }

    /// Acquires the first lease. If an earlier process with this node id was killed, its lease must expire first, and
    /// its sessions should be swept before this process claims any. If another node is elected to sweep, it does so
    /// soon: the broker distinguishes the claims of different incarnations.
    async fn enter(&mut self) -> Result<(), Foreign> {
        let mut give_up: Option<Instant> = None;
        loop {
            let wait = match self.try_enter().await {
                Ok(Entry::Entered) => return Ok(()),
                Ok(Entry::Occupied(by)) => {
                    let now = Instant::now();
                    if now >= *give_up.get_or_insert(now + self.ttl + self.ttl / 2) {
                        self.foreign(by);
                        return Err(Foreign);
                    }
                    self.waiting(by);
                    jittered(self.ttl / 20, 0.2)
                }
                Err(error) => {
                    give_up = None;
                    self.failed(&error)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn try_enter(&mut self) -> Result<Entry, BrokerError> {
        if let Some(occupant) = self.occupant().await? {
            return Ok(Entry::Occupied(occupant));
        }
        // Limited to one heartbeat interval, since clients wait for this node; the sweeper does the rest.
        let enough = Instant::now() + self.interval;
        loop {
            match within(self.interval, self.broker.sweep(&self.info.id, self.ttl)).await {
                Ok(step) => {
                    self.metrics.count_swept(&step);
                    if let Some(error) = &step.fault {
                        tracing::warn!(%error, "failed to remove some sessions of an earlier process with this node.id");
                    }
                    if !step.more || Instant::now() >= enough {
                        break;
                    }
                }
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => {
                    self.metrics.sweeps_failed.inc();
                    tracing::warn!(%error, "failed to remove the sessions of an earlier process with this node.id");
                    break;
                }
            }
        }
        // The node is ready once it has the lease, so the function library must be loaded before.
        self.prepare().await;
        let sent = Instant::now();
        match self.lease().await? {
            LeaseOutcome::Taken | LeaseOutcome::Renewed => {
                self.held(sent, true);
                Ok(Entry::Entered)
            }
            // Another process was faster; the next check shows which one.
            LeaseOutcome::Foreign => Ok(Entry::Occupied(Occupied::unknown())),
        }
    }

    /// Returns another process that holds the lease of this node id, if there is one.
    async fn occupant(&self) -> Result<Option<Occupied>, BrokerError> {
        let nodes = within(self.interval, self.broker.nodes()).await?;
        let mut others = nodes.into_iter().filter(|node| node.incarnation != self.info.incarnation);
        Ok(others.find(|node| node.id == self.info.id).map(|node| Occupied(node.address)))
    }

    async fn lease(&mut self) -> Result<LeaseOutcome, BrokerError> {
        self.info.connections = (self.connections)();
        self.info.draining = *self.draining.borrow_and_update();
        let lease = within(self.interval, self.broker.lease(&self.info, self.ttl)).await;
        let count = match lease {
            Ok(LeaseOutcome::Renewed) => &self.metrics.heartbeats_renewed,
            Ok(LeaseOutcome::Taken) => &self.metrics.heartbeats_acquired,
            Ok(LeaseOutcome::Foreign) => &self.metrics.heartbeats_foreign,
            Err(_) => &self.metrics.heartbeats_failed,
        };
        count.inc();
        lease
    }

    /// Loads the function library at the broker. A failure does not affect the lease.
    async fn prepare(&mut self) {
        if let Err(error) = within(self.interval, self.broker.prepare()).await {
            self.metrics.function_load_failures.inc();
            if let Some(held_back) = self.unprepared.admit() {
                tracing::warn!(%error, held_back, "failed to load the Redis function library");
            }
        }
    }

    /// Records a held lease. `sent` is the time before the call: the lease lasts at least until `sent` plus `ttl`.
    fn held(&mut self, sent: Instant, taken: bool) {
        self.backoff.succeed();
        self.metrics.lease_held.set(1);
        self.publish(LeaseStatus::Held, |state| {
            state.until = Some(sent + self.ttl);
            state.acquisitions += u64::from(taken);
        });
    }

    fn waiting(&self, by: Occupied) {
        let Occupied(address) = by;
        if self.state.borrow().status != LeaseStatus::Waiting {
            tracing::info!(id = %self.info.id, address, "waiting for the lease of an earlier process with this node.id to expire");
        }
        self.publish(LeaseStatus::Waiting, |state| state.occupant = address.into());
    }

    /// Records a failed heartbeat. Returns the time to wait.
    fn failed(&mut self, error: &BrokerError) -> Duration {
        let held = self.state.borrow().held();
        self.metrics.lease_held.set(i64::from(held));
        if let Some(held_back) = self.away.admit() {
            tracing::warn!(%error, held, held_back, "failed to renew the lease");
        }
        self.publish(LeaseStatus::Unavailable, |state| state.outage = Some(error.outage()));
        self.backoff.fail()
    }

    fn foreign(&self, by: Occupied) {
        let Occupied(address) = by;
        self.metrics.lease_held.set(0);
        tracing::error!(id = %self.info.id, address, "node.id is in use by another process");
        self.publish(LeaseStatus::Foreign, |state| {
            state.until = None;
            state.occupant = address.into();
        });
    }

    fn publish(&self, status: LeaseStatus, change: impl FnOnce(&mut LeaseState)) {
        self.state.send_modify(|state| {
            if state.status != status {
                state.since = SystemTime::now();
            }
            state.status = status;
            state.outage = None;
            state.occupant = "".into();
            change(state);
        });
    }
}

/// Result of an attempt to acquire the first lease.
enum Entry {
    /// The lease was acquired.
    Entered,
    /// Another process holds the lease.
    Occupied(Occupied),
}

/// The address of another process with this node id.
struct Occupied(String);

impl Occupied {
    fn unknown() -> Self {
        Self("an unknown address".to_owned())
    }
}

/// The node id is in use by another process.
struct Foreign;

/// Makes a call with a timeout.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(BrokerError::Unavailable(format!("no answer within {limit:?}"))),
    }
}

#[cfg(test)]
mod tests;
