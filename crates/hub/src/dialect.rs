//! The text of a stream: what clients of one protocol receive.
//!
//! A dialect is a file in `dialect/`, a variant of [`Dialect`], and a branch in each of its methods; the compiler names
//! the methods that a new variant lacks. The hub has no other text of a stream. A branch costs nothing next to a write:
//! no call is dynamic, and an event is encoded once for each of `Dialect::EVENT_TEXTS`, not for each connection.
//!
//! - `fanfare`: the protocol in `docs/protocol.md`

mod fanfare;

use bytes::Bytes;
use fanfare_broker::NodeId;
use fanfare_broker::session::CloseReason;
use fanfare_protocol::sse::Format;
use fanfare_protocol::{Channel, Event, Position, SessionId};

use crate::retry::RetryPolicy;

/// The text of a stream. Chosen when the stream is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Fanfare's own protocol, with events in this format.
    Fanfare(Format),
}

/// The first block of a stream: from here on the client has a cursor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Greeting<'a> {
    pub(crate) session: SessionId,
    pub(crate) node: &'a NodeId,
    pub(crate) cursor: &'a str,
    /// `retry:`, in milliseconds.
    pub(crate) retry: u64,
}

impl Default for Dialect {
    fn default() -> Self {
        Self::Fanfare(Format::Raw)
    }
}

impl Dialect {
    /// Number of different texts of an event.
    pub(crate) const EVENT_TEXTS: usize = 2;

    /// Returns the index of the text of events, below [`Dialect::EVENT_TEXTS`]. Dialects with the same text of events
    /// share one.
    pub(crate) fn event_text(self) -> usize {
        match self {
            Self::Fanfare(Format::Raw) => 0,
            Self::Fanfare(Format::Json) => 1,
        }
    }

    /// Encodes an event, without its id line. `time` is in Unix milliseconds; an ephemeral event has no position.
    pub(crate) fn event(
        self,
        channel: &Channel,
        event: &Event,
        position: Option<Position>,
        time: u64,
    ) -> Bytes {
        match self {
            Self::Fanfare(format) => fanfare::event(format, channel, event, position, time),
        }
    }

    /// Appends the id line of a block. `write_cursor` appends the client's cursor after the block.
    pub(crate) fn id_line(self, out: &mut Vec<u8>, write_cursor: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Self::Fanfare(_) => fanfare::id_line(out, write_cursor),
        }
    }

    /// Begins a block with a line that changes the client's reconnection time, in milliseconds.
    pub(crate) fn retry_line(self, out: &mut Vec<u8>, ms: u64) {
        match self {
            Self::Fanfare(_) => fanfare::retry_line(out, ms),
        }
    }

    /// Returns the first block, without its id line.
    pub(crate) fn greeting(self, greeting: Greeting<'_>) -> Bytes {
        match self {
            Self::Fanfare(_) => fanfare::greeting(greeting),
        }
    }

    /// Returns the block for a gap: events of the channel after a position are no longer in its log. Without its id
    /// line.
    pub(crate) fn gap(self, channel: &Channel, after: Position) -> Bytes {
        match self {
            Self::Fanfare(_) => fanfare::gap(channel, after),
        }
    }

    /// Returns the block that takes the place of a heartbeat after events that the session does not get: its id line is news.
    pub(crate) fn excepted(self) -> Bytes {
        match self {
            Self::Fanfare(_) => fanfare::excepted(),
        }
    }

    /// Returns a heartbeat.
    pub(crate) fn heartbeat(self) -> &'static [u8] {
        match self {
            Self::Fanfare(_) => fanfare::HEARTBEAT,
        }
    }

    /// Returns the last block for a close reason, without its id line; `None` if the client cannot receive one.
    pub(crate) fn last_block(
        self,
        reason: CloseReason,
        (session, node): (SessionId, &NodeId),
        retry: &RetryPolicy,
    ) -> Option<Bytes> {
        match self {
            Self::Fanfare(_) => fanfare::last_block(reason, (session, node), retry),
        }
    }

    /// Returns the whole text of a stream that is refused for now. The client keeps the cursor that it sent. `retry` is
    /// in milliseconds.
    pub fn refusal(self, reason: &'static str, cursor: Option<&str>, retry: u64) -> Bytes {
        match self {
            Self::Fanfare(_) => fanfare::refusal(reason, cursor, retry),
        }
    }
}
