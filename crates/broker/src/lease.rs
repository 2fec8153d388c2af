//! Which nodes are alive.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::BrokerError;

/// A node's name, unique in the cluster: 1 to 128 ASCII letters, digits, `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

/// A text that cannot name a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid node id {0:?}: it must have 1 to 128 ASCII letters, digits, '-', '_' and '.'")]
pub struct NodeIdError(String);

impl NodeId {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// Fails if it is empty, too long or has another character.
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

/// What a node says of itself with each heartbeat; the JSON value of its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its name.
    pub id: NodeId,
    /// A UUID drawn at start: tells a process from its predecessor of the same name.
    pub incarnation: String,
    /// Where it listens, `host:port`.
    pub address: String,
    /// When it started, in Unix milliseconds.
    pub since: u64,
    /// How many streams it holds.
    pub connections: u64,
    /// Whether it is on its way out.
    pub draining: bool,
}

/// How many sessions, and how many users, one step of a sweep looks at, at most: a few milliseconds of Redis, in
/// which publishers wait.
pub const SWEEP_STEP: usize = 250;

/// What one step of a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many sessions ended.
    pub sessions: usize,
    /// How many users were looked at again because their grace was over.
    pub users: usize,
    /// Whether the step was full: the next one is due at once.
    pub more: bool,
    /// Why something was left as it is, like a key of another type. The rest was done.
    pub fault: Option<BrokerError>,
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, step: Self) {
        self.sessions += step.sessions;
        self.users += step.users;
        self.more = step.more;
        self.fault = step.fault.or(self.fault.take());
    }
}

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The lease was ours and is longer now.
    Renewed,
    /// There was none: this is the first, or it had lapsed and others may have swept our sessions.
    Taken,
    /// Another live process has this name. Nothing was changed.
    Foreign,
}
