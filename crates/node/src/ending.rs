//! Close reasons of streams.

use fanfare_broker::session::Reason;

/// Close reason of a stream. If the client is still connected, the reason is sent in a last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The client closed the connection, or the connection broke.
    Closed,
    /// The client read nothing for `stream.write_timeout` although data was queued.
    WriteTimeout,
    /// The client's machine acknowledged nothing for `stream.peer_timeout`.
    PeerTimeout,
    /// The stream had no event for `stream.idle_timeout`.
    Idle,
    /// The stream reached `stream.max_age`.
    Age,
    /// The token expired.
    Token,
    /// The session was disconnected by an API call.
    Disconnected,
    /// Another connection claimed the session.
    Superseded,
    /// The node is draining.
    Shutdown,
}

impl Ending {
    /// All close reasons.
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

    /// Returns the reason for the lifecycle stream and the metrics.
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
