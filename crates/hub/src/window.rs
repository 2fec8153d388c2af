//! The recent window: the last events of a channel without a gap, with which catch-up joins live delivery.

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_protocol::Position;

use crate::encoded_event::{ChainLink, EncodedEvent};

/// A chain of events: the previous position of each event is the position of the event before it.
///
/// A connection at a position of the chain becomes live by receiving the rest of the chain. Bounded by count and
/// bytes; the oldest events are dropped first.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The position before the oldest event; `None` if nothing is known.
    base: Option<Position>,
    chain: VecDeque<(ChainLink, Arc<EncodedEvent>)>,
    bytes: usize,
}

impl Window {
    /// Clears the window, since events may be missing.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Drops all events but keeps the tip.
    pub(crate) fn shrink(&mut self) {
        *self = Self { base: self.tip(), ..Self::default() };
    }

    /// Sets the tip to `position`, after which there are no events so far.
    pub(crate) fn set_tip(&mut self, position: Position) {
        if self.base.is_none() {
            self.base = Some(position);
        }
    }

    /// Returns the newest position known.
    pub(crate) fn tip(&self) -> Option<Position> {
        self.chain.back().map(|(link, _)| link.position).or(self.base)
    }

    /// Adds an event. An event that is not after the tip changes nothing; an event that does not follow the tip
    /// starts a new chain.
    pub(crate) fn add(&mut self, link: ChainLink, event: &Arc<EncodedEvent>, events: usize, bytes: usize) {
        match self.tip() {
            Some(tip) if link.position <= tip => return,
            Some(tip) if link.previous == tip => {}
            _ => {
                self.forget();
                self.base = Some(link.previous);
            }
        }
        self.bytes += event.weight();
        self.chain.push_back((link, Arc::clone(event)));
        while self.chain.len() > events || self.bytes > bytes {
            let Some((oldest, gone)) = self.chain.pop_front() else { break };
            self.bytes -= gone.weight();
            self.base = Some(oldest.position);
        }
    }

    /// Returns the positions of the chain in order. The first is the one before the oldest event.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Position> {
        self.base.into_iter().chain(self.chain.iter().map(|(link, _)| link.position))
    }

    /// Returns whether the chain contains an event.
    pub(crate) fn has(&self, link: ChainLink) -> bool {
        let found = self.chain.binary_search_by_key(&link.position, |(link, _)| link.position);
        found.is_ok_and(|at| self.chain[at].0.previous == link.previous)
    }

    /// Returns the events after a position, if the chain contains it.
    pub(crate) fn after(
        &self,
        position: Position,
    ) -> Option<impl Iterator<Item = (ChainLink, &Arc<EncodedEvent>)>> {
        let start = if self.base == Some(position) {
            0
        } else {
            self.chain.binary_search_by_key(&position, |(link, _)| link.position).ok()? + 1
        };
        Some(self.chain.range(start..).map(|(link, event)| (*link, event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_protocol::{Channel, Entry, Event};

    fn add(window: &mut Window, position: u64, previous: u64) {
        let entry = Entry {
            position: Position::new(position, 0),
            previous: Position::new(previous, 0),
            event: Event::new(None, "x".into(), 10).unwrap(),
        };
        let event = EncodedEvent::stored(&Channel::broadcast(), &entry);
        window.add(event.link.unwrap(), &event, 3, 10_000);
    }

    fn after(window: &Window, position: u64) -> Option<Vec<u64>> {
        let rest = window.after(Position::new(position, 0))?;
        Some(rest.map(|(link, _)| link.position.ms).collect())
    }

    #[test]
    fn a_position_of_the_chain_is_followed_by_the_rest() {
        let mut window = Window::default();
        assert_eq!(after(&window, 0), None);
        for (position, previous) in [(5, 3), (6, 5), (8, 6)] {
            add(&mut window, position, previous);
        }
        assert_eq!(after(&window, 3), Some(vec![5, 6, 8]));
        assert_eq!(after(&window, 6), Some(vec![8]));
        assert_eq!(after(&window, 8), Some(vec![]));
        assert_eq!(after(&window, 7), None);
        assert_eq!(after(&window, 2), None);
    }

    #[test]
    fn the_oldest_events_are_dropped_first() {
        let mut window = Window::default();
        for position in 1..10 {
            add(&mut window, position, position - 1);
        }
        assert_eq!(after(&window, 6), Some(vec![7, 8, 9]));
        assert_eq!(after(&window, 5), None);
    }

    #[test]
    fn a_missing_event_starts_a_new_chain_and_a_duplicate_is_ignored() {
        let mut window = Window::default();
        add(&mut window, 5, 4);
        add(&mut window, 5, 4);
        assert_eq!(window.tip(), Some(Position::new(5, 0)));
        add(&mut window, 9, 7);
        assert_eq!(after(&window, 5), None);
        assert_eq!(after(&window, 7), Some(vec![9]));
    }

    #[test]
    fn a_window_that_shrinks_knows_its_tip() {
        let mut window = Window::default();
        for position in 1..4 {
            add(&mut window, position, position - 1);
        }
        window.shrink();
        assert_eq!(after(&window, 2), None);
        assert_eq!(after(&window, 3), Some(vec![]));
        add(&mut window, 4, 3);
        assert_eq!(after(&window, 3), Some(vec![4]));
    }

    #[test]
    fn a_window_with_a_set_tip_needs_no_event() {
        let mut window = Window::default();
        window.set_tip(Position::new(4, 0));
        assert_eq!(window.tip(), Some(Position::new(4, 0)));
        assert_eq!(after(&window, 4), Some(vec![]));
        add(&mut window, 5, 4);
        assert_eq!(after(&window, 4), Some(vec![5]));
    }
}
