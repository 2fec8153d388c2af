//! State of the lease, for other parts of the node.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_broker::Outage;
use tokio::time::Instant;

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

    pub(super) fn starting() -> Self {
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
