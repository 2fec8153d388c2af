//! A kept event: the event, its position, and the position before it.

use crate::{Event, Position};

/// One entry of a channel's log.
///
/// `previous` makes the log a chain: whoever stands at `previous` has missed nothing when this entry arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the event stands.
    pub position: Position,
    /// The channel's last position when this one was appended; [`Position::ZERO`] when it had none.
    pub previous: Position,
    /// What was published.
    pub event: Event,
}
