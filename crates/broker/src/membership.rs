//! The nodes of the cluster: leases, and the sweep of dead nodes' sessions.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::lease::{LeaseOutcome, Swept};
use crate::{BrokerError, NodeId, NodeInfo};

/// The nodes of the cluster.
///
/// An `Err` means that the call was not carried out, or that its outcome is unknown. Every call may be retried.
#[async_trait]
pub trait Membership: fmt::Debug + Send + Sync + 'static {
    /// Renews a node's lease for `ttl`. If a process takes over the node id of another process whose lease has
    /// expired, the sweep removes the other's sessions, except those that are claimed again before.
    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<LeaseOutcome, BrokerError>;

    /// Releases a node's lease, if this incarnation holds it.
    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError>;

    /// Returns the nodes with a lease, by id.
    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError>;

    /// Performs one step of a sweep: removes sessions of nodes whose lease has expired and reports them with the
    /// reason `node-lost`; ends sessions that waited for another node until their grace period was over, and reports
    /// users without a session as offline. A step checks at most [`SWEEP_STEP`](crate::lease::SWEEP_STEP) sessions
    /// and as many users. If [`Swept::more`] is set, the caller performs the next step at once.
    ///
    /// Only one node sweeps at a time: a lock held for `ttl` elects it. The other nodes do nothing.
    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError>;

    /// Loads the function library for publishers if it is missing, and checks that the broker answers.
    async fn prepare(&self) -> Result<(), BrokerError>;
}
