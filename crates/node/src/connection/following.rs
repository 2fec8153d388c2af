//! One channel of one connection: live, or catching up.

use fanfare_protocol::Position;

/// Where a connection stands in one channel. Lives as long as the connection.
#[derive(Debug)]
pub(crate) struct Following {
    /// The channel's tag in cursors; a connection's channels are in ascending order of it.
    pub(crate) tag: u64,
    /// The channel's topic in the writer loop.
    pub(crate) topic: usize,
    /// This connection's place among the topic's members.
    pub(crate) place: usize,
    /// The last event put into the outgoing queue.
    pub(crate) position: Position,
    /// The last event written out: what the client's cursor says. Not after `position`.
    pub(crate) sent: Position,
    pub(crate) state: State,
}

/// How the next event comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is not known yet where the client begins.
    Locating,
    /// From the log: live events are left out, they are read there. No read is under way.
    Behind,
    /// From the log, and a read of it is under way.
    Reading,
    /// From the wire. While the wire is not heard nothing comes; when it is again, the connection is `Behind` until it
    /// has looked into the log.
    Live,
}
