//! A stored event with its position and the position before it.

use crate::{Event, Position};

/// One entry of a channel's log.
///
/// `previous` makes the log a chain: a reader at `previous` has missed nothing when it receives this entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position of the event.
    pub position: Position,
    /// The channel's last position when this entry was appended; [`Position::ZERO`] if it had none.
    pub previous: Position,
    /// The event.
    pub event: Event,
}
