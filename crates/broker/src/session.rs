//! Claims and owners of sessions.

use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::{Channel, Position, SessionId, User};
use serde::{Deserialize, Serialize};

use crate::NodeId;

/// The client of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClient {
    /// The client's address, shown in the list of sessions.
    pub address: Arc<str>,
    /// Whether the session's stream is a long poll: the next request of the session is no move, on whichever node.
    pub polls: bool,
    /// Whether the client chose the session's id, and so comes back with it. How the connections of others are lost is not
    /// recorded.
    pub named: bool,
    /// Whether the client sent a cursor. One without a cursor did not lose its connection: its page was loaded again.
    pub resumes: bool,
    /// The channels of the session whose presence is recorded.
    pub present_in: PresentIn,
}

/// The channels of a session whose presence is recorded. Clones share them; no channels take no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresentIn(Option<Arc<Vec<Channel>>>);

impl FromIterator<Channel> for PresentIn {
    fn from_iter<T: IntoIterator<Item = Channel>>(channels: T) -> Self {
        let channels: Vec<_> = channels.into_iter().collect();
        Self((!channels.is_empty()).then(|| Arc::new(channels)))
    }
}

impl PresentIn {
    /// Returns the channels.
    pub fn channels(&self) -> &[Channel] {
        self.0.as_ref().map_or(&[], |channels| channels.as_slice())
    }
}

/// Who follows a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Number of sessions, also of those that wait for their clients.
    pub sessions: usize,
    /// Number of users.
    pub users: usize,
    /// The users that were asked for, in the order of the bytes of their ids.
    pub list: Vec<User>,
}

/// Which users of a channel to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserPage {
    /// The user after whom the list begins.
    pub after: Option<User>,
    /// Maximum number of users; 0 lists none.
    pub limit: usize,
}

impl From<&str> for SessionClient {
    fn from(address: &str) -> Self {
        Self {
            address: address.into(),
            polls: false,
            named: false,
            resumes: false,
            present_in: PresentIn::default(),
        }
    }
}

/// A claim of a session by a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The session's user.
    pub user: User,
    /// The session's id.
    pub session: SessionId,
    /// The node that claims it.
    pub node: NodeId,
    /// The client.
    pub client: SessionClient,
    /// Maximum number of sessions of the user in the whole cluster. An existing session is not counted twice.
    pub limit: usize,
}

/// Result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The node owns the session, with an epoch greater than any before.
    Held {
        /// Fencing token for every later call about this session.
        epoch: u64,
        /// The previous owner, which may be the same node.
        from: Option<NodeId>,
        /// The last position of the user's channel before the claim was reported: what is published in reaction comes
        /// after it. `None` if it cannot be read.
        tip: Option<Position>,
        /// The silence in which the session's connections are lost, if two were lost after about as long.
        silence: Option<Duration>,
    },
    /// The user has reached the session limit. Nothing was changed.
    Full,
}

/// A session that a node holds, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The session's user.
    pub user: User,
    /// The session's id.
    pub session: SessionId,
    /// The epoch of the node's claim.
    pub epoch: u64,
    /// Start time of the session, in Unix milliseconds.
    pub since: u64,
    /// The client.
    pub client: SessionClient,
}

/// Result of renewing a claim after the lease expired or Redis lost its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// The node owns the session, with this epoch.
    Held(u64),
    /// Another claim has taken the session.
    Lost,
}

/// How a session's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    /// Why it ended.
    pub reason: CloseReason,
    /// In milliseconds; 0 if there is none.
    silence_ms: u32,
}

impl SessionEnd {
    /// Returns the end of a connection that had been silent for this time, if that may be why it was lost.
    pub fn new(reason: CloseReason, silence: Option<Duration>) -> Self {
        let silence_ms = silence.map_or(0, |silence| silence.as_millis().try_into().unwrap_or(u32::MAX));
        Self { reason, silence_ms }
    }

    /// Returns how long the connection had been silent, if that may be why it was lost.
    pub fn silence(self) -> Option<Duration> {
        (self.silence_ms > 0).then(|| Duration::from_millis(self.silence_ms.into()))
    }
}

impl From<CloseReason> for SessionEnd {
    fn from(reason: CloseReason) -> Self {
        Self::new(reason, None)
    }
}

/// Close reason of a stream or session; the `reason` in the lifecycle stream and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// The client closed the connection, or the connection broke.
    Closed,
    /// The client read nothing for `stream.write_timeout` although data was queued.
    WriteTimeout,
    /// The client's machine acknowledged nothing for `stream.peer_timeout`, or an HTTP/2 client did not reply to a ping.
    PeerTimeout,
    /// The stream had no event for `stream.idle_timeout`.
    Idle,
    /// The stream reached `stream.max_age`.
    Age,
    /// The token expired.
    Expired,
    /// The token was revoked.
    Revoked,
    /// A new token of the session does not grant a channel of the stream.
    Ungranted,
    /// The session was disconnected by an API call.
    Disconnected,
    /// Another connection claimed the session.
    Superseded,
    /// The node has answered a long poll; the client sends the next one.
    Polled,
    /// The node is draining.
    Shutdown,
    /// The node died, and another node removed the session.
    NodeLost,
}

impl CloseReason {
    /// The reasons for which a node closes a stream: all but [`Self::NodeLost`].
    pub const OF_STREAMS: [Self; 12] = [
        Self::Closed,
        Self::WriteTimeout,
        Self::PeerTimeout,
        Self::Idle,
        Self::Age,
        Self::Expired,
        Self::Revoked,
        Self::Ungranted,
        Self::Disconnected,
        Self::Superseded,
        Self::Polled,
        Self::Shutdown,
    ];

    /// Returns whether the client is expected back: its session is kept for the grace period, and no event reports its end
    /// before.
    pub fn is_expected_back(self) -> bool {
        matches!(self, Self::Polled | Self::Shutdown)
    }

    /// Returns the name in the lifecycle stream, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::WriteTimeout => "write-timeout",
            Self::PeerTimeout => "peer-timeout",
            Self::Idle => "idle",
            Self::Age => "age",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Ungranted => "ungranted",
            Self::Disconnected => "disconnected",
            Self::Superseded => "superseded",
            Self::Polled => "polled",
            Self::Shutdown => "shutdown",
            Self::NodeLost => "node-lost",
        }
    }
}

/// One session in the list of a user's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// The session's id.
    pub session: SessionId,
    /// The node that holds it.
    pub node: NodeId,
    /// The epoch of the node's claim.
    pub epoch: u64,
    /// Start time, in Unix milliseconds; survives moves.
    pub since: u64,
    /// The client's address.
    pub client: Arc<str>,
}
