//! One channel of one connection: live, or catching up.

use fanfare_broker::log::{Page, is_gap};
use fanfare_protocol::Position;

use crate::delivery::Kept;

/// Where a connection stands in one channel. Lives as long as the connection.
#[derive(Debug)]
pub(crate) struct Following {
    /// The channel's tag in cursors; a connection's channels are in ascending order of it.
    pub(crate) tag: u64,
    /// The channel's topic in the writer loop.
    pub(crate) topic: usize,
    /// This connection's place among the topic's members.
    pub(crate) place: usize,
    /// The last event put into the outgoing queue. Reading goes on after it.
    pub(crate) position: Position,
    /// The position before that event, if it is known. While the log is awaited: where it went back to, if that is known.
    had: Option<Position>,
    /// The last event written out: what the client's cursor says.
    pub(crate) sent: Position,
    /// Whether the next event comes with a gap: the log was empty when it was read, and knew of no position.
    owes_gap: bool,
    /// Whether the log went back and told no entry since.
    awaits_log: bool,
    /// Whether `position` is that of an entry that is no event, and `had` the last event.
    past_event: bool,
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
    /// From the log, and a read of it has failed and is tried again after a pause.
    Stalled,
    /// From the wire. While the wire is not heard nothing comes; when it is again, the connection is `Behind` until it
    /// has looked into the log.
    Live,
}

/// What a page of the log says of where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its entries come next.
    On,
    /// The log went back. What comes after the new position is to be read, and tells whether something was missed.
    Back,
    /// The log went back, nobody knows how far: there is a gap before the new position.
    Lost,
}

impl Following {
    pub(crate) fn new(tag: u64, topic: usize, place: usize) -> Self {
        Self {
            tag,
            topic,
            place,
            position: Position::ZERO,
            had: None,
            sent: Position::ZERO,
            owes_gap: false,
            awaits_log: false,
            past_event: false,
            state: State::Locating,
        }
    }

    /// Begins after a position.
    pub(super) fn begin(&mut self, position: Position) {
        (self.position, self.sent) = (position, position);
    }

    /// Returns whether an entry follows the last one, and nothing else is to be told before it.
    pub(super) fn continues(&self, kept: Kept) -> bool {
        kept.previous == self.position && !self.awaits_log
    }

    /// Returns whether only the log may say what comes next: it went back, and what Pub/Sub still carries may be from
    /// before, so that the client has it.
    pub(crate) fn awaits_log(&self) -> bool {
        self.awaits_log
    }

    /// Returns what the client holds, when nothing is queued for it in the channel.
    pub(super) fn held(&self) -> Position {
        if self.owes_gap { self.sent } else { self.position }
    }

    /// Moves on to an entry. Answers whether something was missed before it.
    pub(super) fn take(&mut self, kept: Kept) -> bool {
        let had = self.had.filter(|_| !self.awaits_log);
        let gap = self.owes_gap || is_gap(self.position, had, kept.previous);
        (self.position, self.had) = (kept.position, Some(kept.previous));
        (self.owes_gap, self.awaits_log, self.past_event) = (false, false, false);
        gap
    }

    /// Moves on beyond entries that are no events.
    pub(super) fn pass(&mut self, next: Position) {
        if next > self.position {
            if !self.past_event {
                (self.had, self.awaits_log) = (Some(self.position), false);
            }
            (self.position, self.past_event) = (next, true);
        }
    }

    /// Compares a page, asked for after `position`, with what is known, and moves back if the log did.
    ///
    /// What decides is the chain, since a failover that lost writes, or a clock put right after a loss, gives later events
    /// smaller positions. Where nothing comes after our last entry, `last` lies before it then; where something does, it
    /// follows an entry that we never had. What came after the entry before our last one is new to us, and the next page
    /// tells whether the log has that one; the last one may be forged, and nothing lost. If the entry before is not known, or
    /// lost, too, what came after the fork is new, and without a fork nothing tells what is.
    pub(super) fn compare(&mut self, page: &Page, fork: Option<Position>) -> Turn {
        let (had, fork) = if self.awaits_log { (None, self.had.or(fork)) } else { (self.had, fork) };
        let now = match page.entries.first().map(|first| first.previous) {
            Some(Position::ZERO) => return Turn::On,
            Some(previous) if previous < self.position && Some(previous) != had => previous,
            None if page.went_back(self.position) => page.last,
            _ => return Turn::On,
        };
        (self.past_event, self.awaits_log, self.had) = (false, true, None);
        match had {
            // Nothing is known of the log: it was lost as a whole, or nothing was published for very long. The next event
            // tells that something may be missing, if there ever is one.
            _ if now == Position::ZERO => {
                (self.position, self.owes_gap) = (Position::ZERO, true);
                Turn::Back
            }
            Some(had) if had <= now => {
                // A log that has none of what we had is another one.
                (self.position, self.owes_gap, self.had) = (had, had == Position::ZERO, fork);
                Turn::Back
            }
            // The first of its entries tells the gap.
            _ if !page.entries.is_empty() && fork.is_none() => Turn::On,
            _ => {
                self.position = fork.unwrap_or(now).min(now);
                Turn::Lost
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fanfare_protocol::{Entry, Event};

    use super::*;

    fn at(ms: u64) -> Position {
        Position::new(ms, 0)
    }

    fn entry(position: u64, previous: u64) -> Kept {
        Kept { position: at(position), previous: at(previous) }
    }

    /// Returns a connection that has had these, each after the one before.
    fn having(entries: &[u64]) -> Following {
        let mut following = Following::new(1, 0, 0);
        following.begin(at(entries[0]));
        for pair in entries.windows(2) {
            assert!(!following.take(entry(pair[1], pair[0])));
        }
        following
    }

    fn page(after: u64, entries: &[(u64, u64)], last: u64) -> Page {
        let event = Event::new(None, "x".into(), 10).unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|&(position, previous)| {
                Arc::new(Entry { position: at(position), previous: at(previous), event: event.clone() })
            })
            .collect();
        let next = entries.last().map_or(at(after), |entry| entry.position);
        Page { entries, next, end: true, last: at(last), ..Page::default() }
    }

    #[test]
    fn a_log_that_lost_only_what_the_client_has_leaves_no_gap() {
        let mut following = having(&[3, 5, 9]);
        assert_eq!(following.compare(&page(9, &[], 5), None), Turn::Back);
        assert_eq!(following.position, at(5));
        assert!(!following.take(entry(7, 5)), "a later event with a smaller position");
        let mut following = having(&[3, 5, 9]);
        assert_eq!(following.compare(&page(9, &[(11, 5)], 11), None), Turn::On);
        assert!(!following.take(entry(11, 5)));
    }

    #[test]
    fn a_log_that_went_further_back_is_a_gap() {
        let mut following = having(&[3, 5, 9]);
        assert_eq!(following.compare(&page(9, &[], 6), None), Turn::Back, "from 5 on there are others");
        assert!(following.take(entry(6, 4)));
        let mut following = having(&[3, 5, 9]);
        assert_eq!(following.compare(&page(9, &[], 4), None), Turn::Lost);
        assert_eq!(following.position, at(4));
        let mut following = having(&[3, 5, 9]);
        assert_eq!(
            following.compare(&page(9, &[(11, 7)], 11), None),
            Turn::Back,
            "it has passed us meanwhile"
        );
        assert_eq!(following.position, at(5));
        let mut following = having(&[9]);
        assert_eq!(following.compare(&page(9, &[(11, 7)], 11), None), Turn::On);
        assert!(following.take(entry(11, 7)), "who has just come knows no entry before");
    }

    #[test]
    fn what_came_after_the_fork_is_new_to_those_who_were_beyond_it() {
        for fork in [4, 0] {
            let mut following = having(&[9]);
            assert_eq!(following.compare(&page(9, &[], 7), Some(at(fork))), Turn::Lost);
            assert!(!following.take(entry(6, fork)), "the gap was announced");
        }
        let mut following = having(&[3, 5, 9]);
        assert_eq!(following.compare(&page(9, &[], 7), Some(at(4))), Turn::Back, "the log may have 5");
        assert_eq!(following.compare(&page(5, &[(6, 4), (7, 6)], 7), None), Turn::Lost, "it does not");
        assert!(!following.take(entry(6, 4)), "the gap was announced");
        let mut following = having(&[3, 5, 9]);
        assert_eq!(following.compare(&page(9, &[], 7), Some(at(5))), Turn::Back);
        assert!(!following.take(entry(6, 5)), "nothing was lost but what the client has");
    }

    #[test]
    fn a_forged_event_that_was_taken_costs_nobody_an_event_nor_a_gap() {
        // Nothing came since, then something did; with and without another forged event that claims that the log went back.
        for fork in [None, Some(at(0))] {
            let mut following = having(&[3, 5, 9]);
            assert_eq!(following.compare(&page(9, &[], 5), fork), Turn::Back);
            assert_eq!(following.compare(&page(5, &[], 5), None), Turn::On);
            assert!(!following.take(entry(11, 5)));
            let mut following = having(&[3, 5, 9]);
            assert_eq!(following.compare(&page(9, &[(11, 5)], 11), fork), Turn::On);
            assert!(!following.take(entry(11, 5)));
            let mut following = having(&[3, 5, 9]);
            assert_eq!(
                following.compare(&page(9, &[], 7), fork),
                Turn::Back,
                "7 came before what was forged"
            );
            assert_eq!(following.compare(&page(5, &[(7, 5)], 7), None), Turn::On);
            assert!(!following.take(entry(7, 5)));
        }
    }

    #[test]
    fn what_pubsub_still_carries_after_a_log_went_back_is_not_taken() {
        let mut following = having(&[3, 5, 9]);
        assert_eq!(following.compare(&page(9, &[], 5), None), Turn::Back);
        assert!(!following.continues(entry(9, 5)), "the client has it");
        assert!(following.awaits_log());
        assert!(!following.take(entry(7, 5)));
        assert!(following.continues(entry(8, 7)) && !following.awaits_log());
    }

    #[test]
    fn a_log_that_is_gone_is_told_with_its_next_event_only() {
        let mut following = having(&[3, 5, 9]);
        assert_eq!(following.compare(&page(9, &[], 0), None), Turn::Back);
        assert_eq!(following.compare(&page(0, &[], 0), None), Turn::On);
        assert!(!following.continues(entry(4, 0)), "a gap comes before it");
        assert!(following.take(entry(4, 0)));
        assert!(following.continues(entry(6, 4)));
        let mut following = having(&[0, 5]);
        assert_eq!(following.compare(&page(5, &[], 3), None), Turn::Back);
        assert!(following.take(entry(3, 0)), "the first of another log");
    }

    #[test]
    fn what_is_no_event_is_no_gap_either() {
        let mut following = having(&[3, 5]);
        following.pass(at(6));
        following.pass(at(8));
        assert!(!following.take(entry(9, 5)));
        following.pass(at(9));
        assert!(following.continues(entry(10, 9)));
    }
}
