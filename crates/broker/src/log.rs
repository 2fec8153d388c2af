//! Pages of stored events, and gap detection by the chain of positions.

use std::sync::Arc;

use fanfare_protocol::{Entry, Event, Position};

/// Bytes that an entry counts in a page besides its type and data, for its positions and overhead.
pub const ENTRY_BYTES: usize = 64;

/// Maximum number of events that [`fanfare_protocol::start::StartAt::Newest`] goes back.
pub const NEWEST_EVENTS: usize = 1000;

/// Maximum bytes of events that it goes back, as counted by [`event_bytes`]; a single event may be larger. To count
/// them Redis must copy them, and it serves no other command meanwhile.
pub const NEWEST_BYTES: usize = 1024 * 1024;

/// Number of entries that a read of a [`Likely::Short`] page asks for: if no second one comes, the first one is the last.
pub const SHORT: usize = 2;

/// Limits of one log read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Maximum number of entries; at least 1.
    pub entries: usize,
    /// Maximum bytes of all entries, as counted by [`event_bytes`].
    pub bytes: usize,
    /// What the page will probably be. Does not change the page, except for [`Page::now`].
    pub likely: Likely,
}

/// What a page will probably be, which decides how it is read: plain commands cost Redis a fraction of a script, but can
/// read only short pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Likely {
    /// Empty, as after a connect.
    Empty {
        /// Whether the page has the time of the read.
        timed: bool,
    },
    /// One event or two, as after a short absence. Redis then sends the first [`SHORT`] events, however large.
    Short {
        /// Upper bound of the clock that assigns positions, in Unix milliseconds. Events that may have expired by it are
        /// left to a script.
        latest: u64,
    },
    /// Of any length.
    #[default]
    Long,
}

impl PageLimit {
    /// Creates a limit of entries of any size.
    pub const fn entries(entries: usize) -> Self {
        Self { entries, bytes: usize::MAX, likely: Likely::Long }
    }
}

/// Returns the bytes that an event counts in a page.
pub fn event_bytes(event: &Event) -> usize {
    let except = event.excepted().map_or(0, |except| except.to_string().len());
    event.kind_str().len() + event.data_bytes().len() + except + ENTRY_BYTES
}

/// A part of a log, in order, with the channel's last position at the same moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries. Malformed entries of the log are skipped and counted in `malformed`.
    pub entries: Vec<Arc<Entry>>,
    /// The next page starts after this position. Not before the requested position.
    pub next: Position,
    /// Whether the log had nothing after `next` when this page was read.
    pub end: bool,
    /// Number of malformed entries that were skipped.
    pub malformed: usize,
    /// The first of them.
    pub first_malformed: Option<Malformed>,
    /// The channel's last position when this page was read; [`Position::ZERO`] if none is known.
    pub last: Position,
    /// Bytes of the first entry, set if the page is empty because this entry exceeds the limit.
    pub needs: Option<usize>,
    /// Time of the read by the clock that assigns positions, in Unix milliseconds. A [`Likely::Short`] page may have none,
    /// and a [`Likely::Empty`] one if none is asked for.
    pub now: Option<u64>,
}

/// A log entry that the publish script did not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Its id.
    pub position: Position,
    /// What is wrong with it, without any part of it.
    pub reason: String,
}

impl Page {
    /// Returns whether a reader who was at `position`, and knows nothing of what came before it, has missed
    /// something. `position` must be the one that the page was asked for.
    pub fn gap_after(&self, position: Position) -> bool {
        self.went_back(position)
            || self.is_expired()
            || self.entries.first().is_some_and(|first| is_gap(position, None, first.previous))
    }

    /// Returns whether events came after the requested position, and the log has none of them any more: retention removed
    /// them.
    pub fn is_expired(&self) -> bool {
        self.entries.is_empty() && self.end && self.next < self.last
    }

    /// Returns whether the log ends before `position`, which the page was asked for: Redis has lost what was there,
    /// or has forgotten where the channel stood.
    pub fn went_back(&self, position: Position) -> bool {
        self.end && self.next == position && self.last < position
    }
}

/// Returns whether a reader has missed an event before an entry: `position` is the reader's last entry, `had` the
/// entry before that one if it is known, and `previous` the entry's previous position.
///
/// There is no gap if the entry follows the reader's last entry, or the one before it: then Redis has lost the last
/// entry, and the reader has received it. There is a gap if `previous` is after the reader's position. If `previous`
/// is before it, the log was rolled back and has other entries now; and the first entry of a log belongs to another
/// log.
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
            let found = is_gap(at(position), had.map(at), at(previous));
            assert_eq!(found, gap, "at {position} after {had:?}, and {previous} before the entry");
        }
    }
}
