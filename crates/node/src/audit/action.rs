//! What a request asks for, in the words of the audit log.

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Lists sessions, nodes or dead letters, or asks for the settings of a channel.
    Look,
    /// Asks who follows a channel.
    Presence,
    /// Disconnects sessions.
    Disconnect,
    /// Revokes tokens.
    Revoke,
    /// Replaces the token of a stream.
    ReplaceToken,
    /// Moves a dead letter back to the intake.
    Requeue,
    /// Removes a dead letter.
    Drop,
    /// Publishes events.
    Publish,
    /// Opens a stream.
    Stream,
    /// Reads a log.
    History,
    /// Acknowledges events, or asks what was acknowledged.
    Acknowledge,
    /// Reads, writes or deletes a finite stream.
    FiniteStream,
    /// Connects over TLS.
    Connect,
    /// Anything else.
    Other,
}

impl Action {
    /// Returns what a request asks for.
    pub(super) fn of(method: &str, route: &str) -> Self {
        match (method, route) {
            (
                "GET" | "HEAD",
                "/v1/nodes"
                | "/v1/streams"
                | "/v1/channels/{channel}/settings"
                | "/v1/users/{user}/sessions"
                | "/v1/dead-letters"
                | "/v1/dead-letters/{id}",
            ) => Self::Look,
            ("GET" | "HEAD", "/v1/channels/{channel}/presence") => Self::Presence,
            ("POST", "/v1/dead-letters/{id}/requeue") => Self::Requeue,
            ("DELETE", "/v1/dead-letters/{id}") => Self::Drop,
            ("DELETE", "/v1/users/{user}/sessions" | "/v1/users/{user}/sessions/{session}") => {
                Self::Disconnect
            }
            ("POST", "/v1/revocations") => Self::Revoke,
            ("POST", "/v1/sessions/{session}/token") => Self::ReplaceToken,
            ("POST", "/v1/publish") => Self::Publish,
            (_, "/v1/events") => Self::Stream,
            ("GET" | "HEAD", "/v1/channels/{channel}/events") => Self::History,
            ("GET" | "HEAD" | "POST", "/v1/ack") => Self::Acknowledge,
            (_, "/v1/stream/{*name}") => Self::FiniteStream,
            _ => Self::Other,
        }
    }

    /// Returns the word in the audit log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Presence => "presence",
            Self::Disconnect => "disconnect",
            Self::Revoke => "revoke",
            Self::ReplaceToken => "replace-token",
            Self::Requeue => "requeue",
            Self::Drop => "drop",
            Self::Publish => "publish",
            Self::Stream => "stream",
            Self::History => "history",
            Self::Acknowledge => "ack",
            Self::FiniteStream => "finite-stream",
            Self::Connect => "connect",
            Self::Other => "other",
        }
    }
}
