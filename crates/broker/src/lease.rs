//! Leases of nodes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::BrokerError;

/// A node id, unique in the cluster: 1 to 128 ASCII letters, digits, `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

/// A text that is not a valid node id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid node id {0:?}: it must have 1 to 128 ASCII letters, digits, '-', '_' and '.'")]
pub struct NodeIdError(String);

impl NodeId {
    /// Checks a node id.
    ///
    /// # Errors
    ///
    /// Fails if the text is empty, too long, or has another character.
    pub fn new(text: &str) -> Result<Self, NodeIdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(NodeIdError(text.chars().take(160).collect()))
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeId {
    type Error = NodeIdError;
    fn try_from(text: String) -> Result<Self, NodeIdError> {
        Self::new(&text)
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// State of a node, sent with each heartbeat; the JSON value of its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Node id.
    pub id: NodeId,
    /// Random UUID of the process, which distinguishes it from an earlier process with the same node id.
    pub incarnation: String,
    /// Address, as `host:port`.
    pub address: String,
    /// Start time, in Unix milliseconds.
    pub since: u64,
    /// Number of streams.
    pub connections: u64,
    /// Whether the node is draining.
    pub draining: bool,
}

/// Maximum number of sessions, and of users, that one step of a sweep checks: Redis is busy for a few milliseconds,
/// in which publishers wait.
pub const SWEEP_STEP: usize = 250;

/// Result of one step of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Number of sessions removed.
    pub sessions: usize,
    /// Number of users that were checked because their grace period was over.
    pub users: usize,
    /// Number of members that no node wrote, and that were removed from the sets of sessions and users.
    pub malformed: usize,
    /// Whether the step reached its limit, and the next one is due at once.
    pub more: bool,
    /// Why a part was skipped, like a key of a wrong type. The rest was done.
    pub fault: Option<BrokerError>,
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, step: Self) {
        self.sessions += step.sessions;
        self.users += step.users;
        self.malformed += step.malformed;
        self.more = step.more;
        self.fault = step.fault.or(self.fault.take());
    }
}

/// Result of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// The node held the lease, and it was extended.
    Renewed,
    /// There was no lease, and the node acquired it: the first heartbeat, or the lease had expired and other nodes
    /// may have removed the node's sessions.
    Taken,
    /// Another process holds the lease of this node id. Nothing was changed.
    Foreign,
}
