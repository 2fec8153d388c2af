//! What a client sees of its stream.

use std::sync::Arc;
use std::time::Instant;

/// What only Fanfare itself sends.
const CONTROL: [&str; 9] = [
    "connected",
    "shutdown",
    "superseded",
    "gap",
    "overloaded",
    "expired",
    "excepted",
    "end",
    "disconnected",
];

/// An event as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its type; `message` for one without.
    pub kind: String,
    /// Its data.
    pub data: Arc<str>,
    /// What the client would have sent as `Last-Event-ID` from then on.
    pub last_id: String,
    /// Whether it had an `id:` of its own.
    pub has_id: bool,
    /// When it was read from the socket.
    pub at: Instant,
}

impl Received {
    /// Whether Fanfare itself sent it.
    pub fn is_control(&self) -> bool {
        CONTROL.contains(&self.kind.as_str())
    }

    /// Whether clients that depart from the standard read it like the others: those that take each event's `id:` as their
    /// position have none after an event without one.
    pub(super) fn check(&self, before: &str) -> Result<(), &'static str> {
        if !self.has_id && (!before.is_empty() || self.kind == "connected") {
            return Err("an event without an id, though the client has a cursor");
        }
        // A gap may move it, to the last position of a log that has expired, and so may events that the session does not get.
        let may_move = ["connected", "gap", "excepted"].contains(&self.kind.as_str());
        if self.is_control() && !may_move && !before.is_empty() && self.last_id != before {
            return Err("a control event that moves the cursor");
        }
        Ok(())
    }

    /// Its data as JSON.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("{self:?}: {e}"))
    }
}

/// How a response ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With the last chunk, or the last of the bytes announced.
    Clean,
    /// The connection closed in the middle.
    Cut,
    /// With an error of the connection.
    Broken(String),
}

/// What a client saw next.
#[derive(Clone, Debug)]
pub enum Step {
    /// An event.
    Event(Received),
    /// The end.
    Ended(End),
    /// Nothing in the time given.
    Nothing,
}
