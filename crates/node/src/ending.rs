//! Every way in which a stream ends.

use fanfare_broker::session::Reason;

/// Why a stream ends. Those that a client can still hear of are told in a last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The client closed the connection, or it broke.
    Closed,
    /// The client took nothing for too long.
    WriteTimeout,
    /// The client answered nothing for too long: its network or its machine is gone.
    PeerTimeout,
    /// No event for too long.
    Idle,
    /// The stream reached its age limit.
    Age,
    /// The token's time ran out.
    Token,
    /// Somebody asked for it.
    Disconnected,
    /// Another connection claimed the session.
    Superseded,
    /// The node is leaving.
    Shutdown,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Closed,
        Self::WriteTimeout,
        Self::PeerTimeout,
        Self::Idle,
        Self::Age,
        Self::Token,
        Self::Disconnected,
        Self::Superseded,
        Self::Shutdown,
    ];

    /// Returns the reason that the lifecycle stream and the metrics give.
    pub fn reason(self) -> Reason {
        match self {
            Self::Closed => Reason::Closed,
            Self::WriteTimeout => Reason::WriteTimeout,
            Self::PeerTimeout => Reason::PeerTimeout,
            Self::Idle => Reason::Idle,
            Self::Age => Reason::Age,
            Self::Token => Reason::Expired,
            Self::Disconnected => Reason::Disconnected,
            Self::Superseded => Reason::Superseded,
            Self::Shutdown => Reason::Shutdown,
        }
    }
}
