//! Claims and owners of sessions.

use std::sync::Arc;

use fanfare_protocol::{SessionId, User};
use serde::{Deserialize, Serialize};

use crate::NodeId;

/// A claim of one session for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose session it is.
    pub user: User,
    /// Which session.
    pub session: SessionId,
    /// Who claims it.
    pub node: NodeId,
    /// The client's address, for people who look at the list.
    pub client: Arc<str>,
    /// How many sessions the user may have in the whole cluster. A session that the user has already is not
    /// counted twice.
    pub limit: usize,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is ours now, with this epoch, which is greater than any that the session had before. `from` is the owner
    /// it was taken from.
    Held {
        /// Fences every later call about this session.
        epoch: u64,
        /// The owner before, which may be this very node.
        from: Option<NodeId>,
    },
    /// The user has as many sessions as allowed. Nothing was changed.
    Full,
}

/// A session that a node believes to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whose it is.
    pub user: User,
    /// Which session.
    pub session: SessionId,
    /// The epoch of our claim.
    pub epoch: u64,
    /// When the session began, in Unix milliseconds.
    pub since: u64,
    /// The client's address.
    pub client: Arc<str>,
}

/// What became of a session that was claimed once more after a lapsed lease or a Redis that came back empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// Ours, with this epoch.
    Held(u64),
    /// Somebody else has claimed it since: let go.
    Lost,
}

/// Why a session ends; the `reason` in the lifecycle stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The client closed the connection, or it broke.
    Closed,
    /// The client took nothing for as long as the write time-out allows.
    WriteTimeout,
    /// The client's machine answered nothing for as long as the peer time-out allows.
    PeerTimeout,
    /// The connection was silent for as long as the idle limit allows.
    Idle,
    /// The connection reached its age limit.
    Age,
    /// The token's time ran out.
    Expired,
    /// Somebody asked for it.
    Disconnected,
    /// Another connection claimed the session.
    Superseded,
    /// The node is leaving.
    Shutdown,
    /// The node died and another swept up after it.
    NodeLost,
}

impl Reason {
    /// Returns the word used in the lifecycle stream, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::WriteTimeout => "write-timeout",
            Self::PeerTimeout => "peer-timeout",
            Self::Idle => "idle",
            Self::Age => "age",
            Self::Expired => "expired",
            Self::Disconnected => "disconnected",
            Self::Superseded => "superseded",
            Self::Shutdown => "shutdown",
            Self::NodeLost => "node-lost",
        }
    }
}

/// One session as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Which session.
    pub session: SessionId,
    /// The node that holds it.
    pub node: NodeId,
    /// The epoch of its claim.
    pub epoch: u64,
    /// When it began, in Unix milliseconds; survives moves.
    pub since: u64,
    /// The client's address.
    pub client: Arc<str>,
}
