//! One channel of one connection: live, or catching up.

use fanfare_broker::log::{Page, is_gap};
use fanfare_protocol::Position;

use crate::encoded_event::ChainLink;

/// State of a connection in one channel. Lives as long as the connection.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, which the log and Pub/Sub establish separately"
)]
pub(crate) struct Subscription {
    /// The channel's tag in cursors, by which a connection's channels are ordered.
    pub(crate) tag: u64,
    /// The channel's topic in the shard.
    pub(crate) topic: usize,
    /// This connection's index among the topic's subscribers.
    pub(crate) index_in_topic: usize,
    /// The last queued event, after which reading continues.
    pub(crate) position: Position,
    /// The position before that event, if it is known. It counts only if not `awaits_log`.
    before: Option<Position>,
    /// The last written event, which is the client's cursor.
    pub(crate) sent: Position,
    /// Whether a gap precedes the next event: the log was empty, without a last position.
    gap_pending: bool,
    /// Whether the log was rolled back and returned no entry since.
    awaits_log: bool,
    /// Whether `position` is that of a malformed entry, and `before` that of the last event.
    past_event: bool,
    /// Whether `position` was the channel's newest when the stream was requested, and nothing was read since.
    at_tip: bool,
    pub(crate) state: ChannelState,
}

/// Source of the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelState {
    /// The start position is not known yet.
    Locating,
    /// The log: live events are skipped and read there. No read is in progress.
    Behind,
    /// The log, and a read is in progress.
    Reading,
    /// The log, and a failed read is retried after a pause.
    Stalled,
    /// The live topic. While the channel is not subscribed, nothing arrives; after it is subscribed again, the
    /// connection is `Behind` until it has read the log.
    Live,
}

/// Result of comparing a page of the log with a connection's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageFit {
    /// The entries of the page come next.
    On,
    /// The entries after the position have expired: there is a gap, and the new position is the channel's last one.
    Expired,
    /// The log was rolled back. The entries after the new position must be read, and show whether there is a gap.
    Back,
    /// The log was rolled back, perhaps to this position: the page after it shows whether it was. Nothing changed.
    Check(Position),
    /// The log was rolled back to an unknown position: there is a gap before the new position.
    Lost,
}

impl Subscription {
    pub(crate) fn new(tag: u64, topic: usize, index_in_topic: usize) -> Self {
        Self {
            tag,
            topic,
            index_in_topic,
            position: Position::ZERO,
            before: None,
            sent: Position::ZERO,
            gap_pending: false,
            awaits_log: false,
            past_event: false,
            at_tip: false,
            state: ChannelState::Locating,
        }
    }

    /// Starts after a position.
    pub(super) fn begin(&mut self, position: Position) {
        (self.position, self.sent) = (position, position);
    }

    /// Starts at the end of the log.
    pub(crate) fn begins_at_tip(&mut self) {
        self.at_tip = true;
    }

    /// Returns whether nothing was read since the start at the end of the log. Once.
    pub(crate) fn takes_tip(&mut self) -> bool {
        std::mem::take(&mut self.at_tip)
    }

    /// Returns whether an entry follows the last one, without a gap to report before it.
    pub(super) fn continues(&self, link: ChainLink) -> bool {
        link.previous == self.position && !self.awaits_log
    }

    /// Returns whether only the log determines the next event: it was rolled back, and messages of Pub/Sub may be
    /// from before, so that the client has them.
    pub(crate) fn awaits_log(&self) -> bool {
        self.awaits_log
    }

    /// Returns the client's position, if nothing is queued in the channel.
    pub(super) fn client_position(&self) -> Position {
        if self.gap_pending { self.sent } else { self.position }
    }

    /// Moves to an entry. Returns whether there is a gap before it.
    pub(super) fn advance(&mut self, link: ChainLink) -> bool {
        let before = self.before.filter(|_| !self.awaits_log);
        let gap = self.gap_pending || is_gap(self.position, before, link.previous);
        (self.position, self.before) = (link.position, Some(link.previous));
        (self.gap_pending, self.awaits_log, self.past_event) = (false, false, false);
        gap
    }

    /// Moves beyond malformed entries.
    pub(super) fn skip_to(&mut self, next: Position) {
        if next > self.position {
            if !self.past_event {
                (self.before, self.awaits_log) = (Some(self.position), false);
            }
            (self.position, self.past_event) = (next, true);
        }
    }

    /// Compares a page that was read after `position` with the known state, and moves back if the log was rolled
    /// back.
    ///
    /// The chain decides, since after a failover that lost writes, or after a clock was set back, later events may
    /// have smaller positions. If no entry follows the last one of the connection, `last` is before it then;
    /// otherwise the next entry follows one that the connection never had. Events after the entry before the last one
    /// are new to the client, and the next page shows whether the log has that entry; the last one may be forged, and
    /// nothing lost. If the entry before is unknown or lost too, events after the fork are new, if the log confirms it;
    /// without a fork it is unknown which events are new.
    pub(super) fn compare(&mut self, page: &Page, fork: Option<Position>) -> PageFit {
        if page.is_expired() {
            self.move_to(page.last);
            return PageFit::Expired;
        }
        let before = self.before.filter(|_| !self.awaits_log);
        let now = match page.entries.first().map(|first| first.previous) {
            Some(Position::ZERO) => return PageFit::On,
            Some(previous) if previous < self.position && Some(previous) != before => previous,
            None if page.went_back(self.position) => page.last,
            _ => return PageFit::On,
        };
        let fit = match (before, fork) {
            // The log has no state: it was lost as a whole, or nothing was published for very long. The next event,
            // if there is one, is preceded by a gap.
            _ if now == Position::ZERO => {
                (self.position, self.gap_pending) = (Position::ZERO, true);
                PageFit::Back
            }
            (Some(before), _) if before <= now => {
                // A log without any of the connection's entries is a different log.
                (self.position, self.gap_pending) = (before, before == Position::ZERO);
                PageFit::Back
            }
            (_, Some(fork)) => return PageFit::Check(fork),
            // The first entry of the page reports the gap.
            _ if !page.entries.is_empty() => PageFit::On,
            _ => {
                self.position = now;
                PageFit::Lost
            }
        };
        (self.past_event, self.awaits_log, self.before) = (false, true, None);
        fit
    }

    /// Moves to a position of the log that does not follow the last entry. There is a gap before the next entry.
    pub(super) fn move_to(&mut self, position: Position) {
        (self.position, self.before) = (position, None);
        (self.gap_pending, self.awaits_log, self.past_event) = (false, false, false);
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

    fn entry(position: u64, previous: u64) -> ChainLink {
        ChainLink { position: at(position), previous: at(previous) }
    }

    /// Returns a connection that has had these, each after the one before.
    fn having(entries: &[u64]) -> Subscription {
        let mut subscription = Subscription::new(1, 0, 0);
        subscription.begin(at(entries[0]));
        for pair in entries.windows(2) {
            assert!(!subscription.advance(entry(pair[1], pair[0])));
        }
        subscription
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
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[], 5), None), PageFit::Back);
        assert_eq!(subscription.position, at(5));
        assert!(!subscription.advance(entry(7, 5)), "a later event with a smaller position");
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[(11, 5)], 11), None), PageFit::On);
        assert!(!subscription.advance(entry(11, 5)));
    }

    #[test]
    fn a_log_that_went_further_back_is_a_gap() {
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[], 6), None), PageFit::Back, "from 5 on there are others");
        assert!(subscription.advance(entry(6, 4)));
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[], 4), None), PageFit::Lost);
        assert_eq!(subscription.position, at(4));
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(
            subscription.compare(&page(9, &[(11, 7)], 11), None),
            PageFit::Back,
            "the log has passed the position meanwhile"
        );
        assert_eq!(subscription.position, at(5));
        let mut subscription = having(&[9]);
        assert_eq!(subscription.compare(&page(9, &[(11, 7)], 11), None), PageFit::On);
        assert!(subscription.advance(entry(11, 7)), "a new connection does not know the entry before");
    }

    #[test]
    fn events_after_the_fork_are_new_to_connections_beyond_it() {
        for fork in [4, 0] {
            let mut subscription = having(&[9]);
            assert_eq!(subscription.compare(&page(9, &[], 7), Some(at(fork))), PageFit::Check(at(fork)));
            subscription.move_to(at(fork));
            assert!(!subscription.advance(entry(6, fork)), "the gap was announced");
        }
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[], 7), Some(at(4))), PageFit::Back, "the log may have 5");
        let page_after_5 = page(5, &[(6, 4), (7, 6)], 7);
        assert_eq!(subscription.compare(&page_after_5, Some(at(4))), PageFit::Check(at(4)), "it does not");
        subscription.move_to(at(4));
        assert!(!subscription.advance(entry(6, 4)), "the gap was announced");
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[], 7), Some(at(5))), PageFit::Back);
        assert!(!subscription.advance(entry(6, 5)), "nothing was lost but what the client has");
    }

    #[test]
    fn a_forged_event_that_was_delivered_causes_neither_a_loss_nor_a_gap() {
        // Nothing came since, then something did; with and without another forged event that claims that the log went
        // back.
        for fork in [None, Some(at(0))] {
            let mut subscription = having(&[3, 5, 9]);
            assert_eq!(subscription.compare(&page(9, &[], 5), fork), PageFit::Back);
            assert_eq!(subscription.compare(&page(5, &[], 5), None), PageFit::On);
            assert!(!subscription.advance(entry(11, 5)));
            let mut subscription = having(&[3, 5, 9]);
            assert_eq!(subscription.compare(&page(9, &[(11, 5)], 11), fork), PageFit::On);
            assert!(!subscription.advance(entry(11, 5)));
            let mut subscription = having(&[3, 5, 9]);
            assert_eq!(
                subscription.compare(&page(9, &[], 7), fork),
                PageFit::Back,
                "7 came before what was forged"
            );
            assert_eq!(subscription.compare(&page(5, &[(7, 5)], 7), None), PageFit::On);
            assert!(!subscription.advance(entry(7, 5)));
        }
    }

    #[test]
    fn a_fork_that_the_log_has_not_confirmed_changes_nothing() {
        for (last, entries) in [(7, &[][..]), (11, &[(11, 7)])] {
            let (mut checked, mut without) = (having(&[9]), having(&[9]));
            let page = page(9, entries, last);
            assert_eq!(checked.compare(&page, Some(at(4))), PageFit::Check(at(4)));
            assert_eq!(checked.compare(&page, None), without.compare(&page, None));
            assert_eq!(checked.position, without.position);
        }
    }

    #[test]
    fn an_expired_log_is_a_gap_at_once() {
        let mut subscription = having(&[3, 5]);
        assert_eq!(subscription.compare(&page(5, &[], 5), None), PageFit::On, "nothing was missed");
        assert_eq!(subscription.compare(&page(5, &[], 9), None), PageFit::Expired);
        assert!(!subscription.advance(entry(11, 9)), "the gap was reported");
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[], 6), None), PageFit::Back);
        assert_eq!(subscription.compare(&page(5, &[], 6), None), PageFit::Expired, "6 is missed");
        assert!(!subscription.advance(entry(7, 6)));
    }

    #[test]
    fn events_of_pubsub_from_before_a_rollback_are_not_delivered() {
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[], 5), None), PageFit::Back);
        assert!(!subscription.continues(entry(9, 5)), "the client has it");
        assert!(subscription.awaits_log());
        assert!(!subscription.advance(entry(7, 5)));
        assert!(subscription.continues(entry(8, 7)) && !subscription.awaits_log());
    }

    #[test]
    fn a_lost_log_is_reported_with_its_next_event() {
        let mut subscription = having(&[3, 5, 9]);
        assert_eq!(subscription.compare(&page(9, &[], 0), None), PageFit::Back);
        assert_eq!(subscription.compare(&page(0, &[], 0), None), PageFit::On);
        assert!(!subscription.continues(entry(4, 0)), "a gap comes before it");
        assert!(subscription.advance(entry(4, 0)));
        assert!(subscription.continues(entry(6, 4)));
        let mut subscription = having(&[0, 5]);
        assert_eq!(subscription.compare(&page(5, &[], 3), None), PageFit::Back);
        assert!(subscription.advance(entry(3, 0)), "the first of another log");
    }

    #[test]
    fn malformed_entries_are_not_a_gap() {
        let mut subscription = having(&[3, 5]);
        subscription.skip_to(at(6));
        subscription.skip_to(at(8));
        assert!(!subscription.advance(entry(9, 5)));
        subscription.skip_to(at(9));
        assert!(subscription.continues(entry(10, 9)));
    }
}
