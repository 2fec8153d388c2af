//! Where a log was rolled back, as the live topic shows it.

use std::time::Duration;

use fanfare_broker::log::Page;
use fanfare_protocol::Position;
use tokio::time::Instant;

use crate::encoded_event::ChainLink;
use crate::window::Window;

/// Maximum number of positions of a fork.
const CHAIN: usize = 64;

/// How long a fork is kept: connections that have lost events read the log by then, and their clients come back. A later
/// client gets a gap up to the end of the log.
pub(crate) const LIFETIME: Duration = Duration::from_mins(5);

/// The first event with which a live topic went back, and the order of positions before it.
///
/// A connection whose last events are lost continues after the fork, since the log has other events there. A live topic
/// alone does not prove that, since anyone may publish on it, and events that the client has would be delivered again.
/// So the connection's position must have come after the fork on the live topic, before this event, and the log must
/// have another event after the fork.
#[derive(Debug)]
pub(crate) struct Fork {
    first: ChainLink,
    /// The window's last positions before the event.
    chain: Box<[Position]>,
    /// The last position of the live topic before the event.
    last_live: Position,
    /// When the live topic went back.
    at: Instant,
}

impl Fork {
    pub(crate) fn new(first: ChainLink, window: &Window, last_live: Position, at: Instant) -> Self {
        let mut chain: Vec<Position> = window.positions().collect();
        chain.drain(..chain.len().saturating_sub(CHAIN));
        Self { first, chain: chain.into(), last_live, at }
    }

    /// Returns for how long the fork is kept; zero once it is old.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        (self.at + LIFETIME).saturating_duration_since(now)
    }

    /// Returns the last position before the fork.
    pub(crate) fn previous(&self) -> Position {
        self.first.previous
    }

    /// Returns whether the live topic had `position` before it went back, and had it after the fork. A log that begins
    /// again is before everything.
    pub(crate) fn is_before(&self, position: Position) -> bool {
        let link = self.chain.iter().position(|link| *link == position);
        // The first link may come from a log read, and so from after the fork.
        let came = link.is_some_and(|link| link > 0) || position == self.last_live;
        let earlier = link.map_or(&[][..], |link| &self.chain[..link]);
        came && (self.previous() == Position::ZERO || earlier.contains(&self.previous()))
    }

    /// Returns whether the log has another event after the fork than before, by the page that was read after it.
    pub(crate) fn is_confirmed_by(&self, page: &Page) -> bool {
        let Some(entry) = page.entries.first().filter(|entry| entry.previous == self.previous()) else {
            return false;
        };
        if self.previous() == Position::ZERO {
            // The first event of the earlier log is unknown.
            entry.position == self.first.position
        } else {
            !self.chain.contains(&entry.position)
        }
    }
}
