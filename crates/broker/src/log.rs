//! Pages of kept events.

use std::sync::Arc;

use fanfare_protocol::{Entry, Position};

/// Some of a log, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What could be read. Entries of the log that are no events are left out and counted in `malformed`.
    pub entries: Vec<Arc<Entry>>,
    /// Where the next page begins: after this position. Not before the position asked for.
    pub next: Position,
    /// Whether the log had nothing after `next` when this page was read.
    pub end: bool,
    /// How many entries of the log were left out.
    pub malformed: usize,
}

impl Page {
    /// Whether something that came after `position` is no longer in the log. `position` must be the one that the
    /// page was asked for.
    pub fn gap_after(&self, position: Position) -> bool {
        self.entries.first().is_some_and(|first| is_gap(position, first.previous))
    }
}

/// Whether a reader at `position`, whose next entry says that `previous` came before it, has missed something.
///
/// It has when the entry before lies after its own, or when the log was born anew although it had a position. An
/// entry before that lies *before* its own is no gap: a failover lost what it has already.
pub fn is_gap(position: Position, previous: Position) -> bool {
    previous > position || (previous == Position::ZERO && position != Position::ZERO)
}
