//! The heartbeats that acquire and renew the lease.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_broker::backoff::{Backoff, jittered};
use fanfare_broker::lease::LeaseOutcome;
use fanfare_broker::{BrokerError, Membership, NodeInfo};
use fanfare_telemetry::Throttle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::CountConnections;
use super::state::{LeaseState, LeaseStatus};
use crate::metrics::ClusterMetrics;

/// The heartbeat's task.
pub(super) struct Heartbeat {
    pub(super) broker: Arc<dyn Membership>,
    pub(super) info: NodeInfo,
    pub(super) ttl: Duration,
    /// Interval between heartbeats, and timeout of a call.
    pub(super) interval: Duration,
    pub(super) connections: CountConnections,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) state: watch::Sender<LeaseState>,
    pub(super) metrics: Arc<ClusterMetrics>,
    pub(super) backoff: Backoff,
    pub(super) away: Throttle,
    pub(super) unprepared: Throttle,
}

impl Heartbeat {
    pub(super) async fn run(mut self) {
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
