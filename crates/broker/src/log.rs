//! Pages of kept events, and what the chain of positions says.

use std::sync::Arc;

use fanfare_protocol::{Entry, Event, Position};

/// What an entry counts in a page beside its type and its data, in bytes: its positions, and what carries them.
pub const ENTRY_BYTES: usize = 64;

/// How many events [`fanfare_protocol::start::From::Newest`] goes back at most.
pub const NEWEST_EVENTS: usize = 1000;

/// How many bytes of events it goes back at most, as [`event_bytes`] counts them; a single event may be larger. To count them
/// Redis must copy them, and does nothing else meanwhile.
pub const NEWEST_BYTES: usize = 1024 * 1024;

/// The most that one read of a log brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// How many entries are looked at; at least 1.
    pub entries: usize,
    /// How many bytes they have together, as [`event_bytes`] counts them.
    pub bytes: usize,
}

impl PageLimit {
    /// Returns so many entries of any size.
    pub const fn entries(entries: usize) -> Self {
        Self { entries, bytes: usize::MAX }
    }
}

/// Returns what an event counts in a page, in bytes.
pub fn event_bytes(event: &Event) -> usize {
    event.kind_str().len() + event.data_bytes().len() + ENTRY_BYTES
}

/// Some of a log, in order, and where the channel stood in the same moment.
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
    /// The channel's last position when this page was read; [`Position::ZERO`] if none is known.
    pub last: Position,
    /// Set when the page has no entry because the first one is larger than the limit: how many bytes it counts.
    pub needs: Option<usize>,
    /// When this page was read, by the clock that gives positions, in Unix milliseconds.
    pub now: u64,
}

impl Page {
    /// Returns whether a reader who was at `position`, and knows nothing of what came before it, has missed
    /// something. `position` must be the one that the page was asked for.
    pub fn gap_after(&self, position: Position) -> bool {
        self.went_back(position)
            || self.entries.first().is_some_and(|first| is_gap(position, None, first.previous))
    }

    /// Returns whether the log ends before `position`, which the page was asked for: Redis has lost what was there,
    /// or has forgotten where the channel stood.
    pub fn went_back(&self, position: Position) -> bool {
        self.end && self.next == position && self.last < position
    }
}

/// Returns whether a reader has missed something before an entry: `position` is the reader's last entry, `had` the
/// one before it if that is known, and `previous` what the entry says came before it.
///
/// Nothing was missed if the entry follows the reader's last one; or the one before, since then Redis has lost the
/// last one and the reader has it. An entry before that lies after the reader's was missed. One that lies before it
/// belongs to a log that went back and has other entries now; and the first entry of a log belongs to another log.
pub fn is_gap(position: Position, had: Option<Position>, previous: Position) -> bool {
    previous != position && (previous == Position::ZERO || Some(previous) != had)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Position {
        Position::new(ms, 0)
    }

    #[test]
    fn the_chain_decides_what_is_a_gap() {
        for (position, had, previous, gap) in [
            (5, Some(4), 5, false),
            (5, Some(4), 6, true),
            (5, Some(3), 4, true),
            (5, Some(4), 4, false),
            (5, None, 4, true),
            (5, Some(0), 0, true),
            (0, None, 0, false),
            (0, None, 1, true),
        ] {
            let told = is_gap(at(position), had.map(at), at(previous));
            assert_eq!(told, gap, "at {position} after {had:?}, and {previous} before the entry");
        }
    }
}
