//! What was published, and whether a client got what it had to.
//!
//! The verdict looks at the numbers that events carry in their data, which no rule of the hub knows. Positions are only
//! used to find the number at which a client began.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_protocol::{Channel, Position};

use crate::faults::is_forged;

/// Orders what publishers, faults and clients do: each has the next moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments(Arc<AtomicU64>);

impl Moments {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Everything that was ever accepted.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    channels: HashMap<Channel, Vec<Accepted>>,
    /// When events of each channel were removed, lost or forged.
    incidents: HashMap<Channel, Vec<u64>>,
    pub(crate) moments: Moments,
}

/// One event; its number is its place in the channel, beginning with 1.
#[derive(Debug)]
struct Accepted {
    position: Position,
    fate: Fate,
    /// When it was published.
    at: u64,
}

/// What became of an accepted event in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Stored, or removed by retention: the last position remembers it.
    Stored,
    /// Lost by a failover: the replica never had it.
    Lost,
    /// Deleted with everything that is known of its channel.
    Wiped,
}

/// What one client received in one channel while it followed it without a break.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The position at which the stream began.
    pub(crate) start: Position,
    /// The numbers of the events, in the order of their arrival.
    pub(crate) numbers: Vec<u64>,
    /// In the order of their arrival.
    pub(crate) gaps: Vec<Gap>,
    /// Before which of `numbers` it was shown a forged event.
    pub(crate) forged: Vec<usize>,
}

/// A gap that a client received.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    /// Before which of the numbers it came.
    pub(crate) place: usize,
    /// When it came.
    pub(crate) at: u64,
    /// On which of the client's connections.
    pub(crate) connection: u64,
    /// Where it moved the cursor, if it did.
    pub(crate) moved: Option<Position>,
    /// Whether the next block of the connection was no event of its channel.
    pub(crate) alone: bool,
    /// Whether the client came back before an event followed, with the cursor from before the gap.
    pub(crate) forgotten: bool,
}

/// How far a client must have come, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finish {
    /// It has left.
    Anywhere,
    /// It has the newest event, or behind all that it has a gap that covers the newest event.
    OrGap,
    /// It has the newest event.
    Newest,
}

impl Received {
    pub(crate) fn new(start: Position) -> Self {
        Self { start, numbers: Vec::new(), gaps: Vec::new(), forged: Vec::new() }
    }

    /// Returns the number of the event before the one at `index`, or of the event at which the stream began.
    fn before(&self, index: usize, start: Option<u64>) -> Option<u64> {
        if index == 0 { start } else { Some(self.numbers[index - 1]) }
    }

    /// Forgets gaps that did not move the cursor and are not followed by an event: the client asks again from the same
    /// position, maybe a node whose window still has the lost events; if not, the gap must be announced again.
    pub(crate) fn forget_gaps(&mut self) {
        let end = self.numbers.len();
        for gap in self.gaps.iter_mut().filter(|gap| gap.place == end && gap.moved.is_none()) {
            gap.forgotten = true;
        }
    }
}

impl Ledger {
    /// Returns the number of the channel's next event.
    pub(crate) fn next_number(&self, channel: &Channel) -> u64 {
        self.accepted(channel).len() as u64 + 1
    }

    pub(crate) fn accept(&mut self, channel: &Channel, position: Position) {
        let accepted = self.channels.entry(channel.clone()).or_default();
        assert!(accepted.iter().all(|other| other.position != position), "{position} was given twice");
        accepted.push(Accepted { position, fate: Fate::Stored, at: self.moments.next() });
    }

    /// Events of a channel were removed, lost or forged.
    pub(crate) fn count_incident(&mut self, channel: &Channel) {
        self.incidents.entry(channel.clone()).or_default().push(self.moments.next());
    }

    /// Returns the positions of what is stored, in order.
    pub(crate) fn stored(&self, channel: &Channel) -> Vec<Position> {
        let stored = self.accepted(channel).iter().filter(|accepted| accepted.fate == Fate::Stored);
        stored.map(|accepted| accepted.position).collect()
    }

    /// A failover lost these.
    pub(crate) fn lose(&mut self, channel: &Channel, positions: &[Position]) {
        if !positions.is_empty() {
            self.count_incident(channel);
        }
        for accepted in self.channels.get_mut(channel).into_iter().flatten() {
            if positions.contains(&accepted.position) {
                accepted.fate = Fate::Lost;
            }
        }
    }

    /// A channel was deleted.
    pub(crate) fn wipe(&mut self, channel: &Channel) {
        self.count_incident(channel);
        for accepted in self.channels.get_mut(channel).into_iter().flatten() {
            if accepted.fate == Fate::Stored {
                accepted.fate = Fate::Wiped;
            }
        }
    }

    /// Checks that the client got everything, once and in order, and was notified of each loss where it was lost and of
    /// no other. `finish` says how far it must have come.
    pub(crate) fn check(&self, channel: &Channel, got: &Received, finish: Finish) -> Result<(), String> {
        let start = self.number_at(channel, got.start);
        self.check_order(channel, got, start)
            .and_then(|()| self.check_losses(channel, got, start, finish))
            .and_then(|()| self.check_gaps(channel, got, start))
            .map_err(|why| format!("{channel}: {why}\nreceived: {got:?}"))
    }

    /// Returns whether the client has come that far.
    pub(crate) fn is_finished(&self, channel: &Channel, got: &Received, finish: Finish) -> bool {
        if finish == Finish::Anywhere {
            return true;
        }
        let all = self.accepted(channel);
        let newest = all.iter().rposition(|accepted| accepted.fate == Fate::Stored);
        newest.is_none_or(|newest| {
            let is_covered = self.is_covered(channel, got, newest as u64 + 1, got.numbers.len());
            finish == Finish::OrGap && is_covered
                || got.numbers.last().is_some_and(|last| index(*last) >= newest)
                || all[newest..].iter().any(|accepted| accepted.position == got.start)
        })
    }

    fn check_order(&self, channel: &Channel, got: &Received, start: Option<u64>) -> Result<(), String> {
        if let Some(pair) = got.numbers.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!("twice or out of order: {pair:?}"));
        }
        if let Some(stray) = got.numbers.iter().find(|number| self.get(channel, **number).is_none()) {
            return Err(format!("never published: {stray}"));
        }
        if let (Some(start), Some(&first)) = (start, got.numbers.first())
            && first <= start
        {
            return Err(format!("{first} is not after the start, {start}"));
        }
        Ok(())
    }

    fn check_losses(
        &self,
        channel: &Channel,
        got: &Received,
        start: Option<u64>,
        finish: Finish,
    ) -> Result<(), String> {
        let all = self.accepted(channel);
        let last = got.before(got.numbers.len(), start).unwrap_or(0);
        if !self.is_finished(channel, got, finish) {
            return Err(format!("never caught up with the newest of {}", all.len()));
        }
        let begin = start.unwrap_or(0) + 1;
        for missed in (begin..=last).filter(|number| !got.numbers.contains(number)) {
            let accepted = &all[index(missed)];
            let later = got.numbers.iter().position(|number| *number > missed);
            let place = later.unwrap_or(got.numbers.len());
            // A client that held nothing cannot know that what it waited for was deleted.
            let held_nothing = place == 0 && got.start == Position::ZERO;
            let before_start = place == 0 && start.is_none() && accepted.position <= got.start;
            let unknowable = before_start || held_nothing && accepted.fate == Fate::Wiped;
            if accepted.fate != Fate::Lost && !self.is_covered(channel, got, missed, place) && !unknowable {
                return Err(format!("{missed} was lost in silence"));
            }
        }
        Ok(())
    }

    /// Returns whether one of the gaps at this place announced the loss of an event: one that moved the cursor to it or
    /// beyond; of any other it is only known that the event must have been published before.
    fn is_covered(&self, channel: &Channel, got: &Received, number: u64, place: usize) -> bool {
        let at = self.get(channel, number).map_or(u64::MAX, |accepted| accepted.at);
        got.gaps.iter().filter(|gap| gap.place == place && !gap.forgotten).any(|gap| {
            let moved = gap.moved.and_then(|position| self.number_at(channel, position));
            moved.map_or(at < gap.at, |moved| number <= moved)
        })
    }

    /// Each gap has a cause of its own, which no gap before it covers.
    fn check_gaps(&self, channel: &Channel, got: &Received, start: Option<u64>) -> Result<(), String> {
        for (index, gap) in got.gaps.iter().enumerate() {
            let forged = got.forged.contains(&gap.place) || gap.place == 0 && is_forged(got.start);
            let earlier: Vec<_> = got.gaps[..index].iter().filter(|other| other.place == gap.place).collect();
            let moved = earlier.iter().rev().find_map(|other| other.moved);
            let before = match moved {
                Some(position) => self.number_at(channel, position),
                None => got.before(gap.place, start),
            };
            if forged || moved.is_some() && before.is_none() {
                continue;
            }
            if !gap.forgotten && !self.has_cause(channel, got, gap, before) {
                return Err(format!("a gap after {before:?} where nothing was lost"));
            }
            let known = before.and_then(|number| self.get(channel, number));
            if gap.alone && gap.moved.is_none() && known.is_some_and(|known| known.fate == Fate::Stored) {
                return Err(format!(
                    "a gap alone after {before:?}, which each reconnect would announce again"
                ));
            }
            // After the one that moved the cursor last, on the same connection.
            let run = earlier.iter().rev().take_while(|other| other.moved.is_none());
            let gaps = 1 + run.filter(|other| other.connection == gap.connection).count();
            let since = known.map_or(0, |known| known.at);
            let incidents = self.incidents.get(channel).into_iter().flatten();
            let incidents = incidents.filter(|at| (since..gap.at).contains(at)).count();
            if gaps > incidents {
                return Err(format!("gap {gaps} after {before:?}, where events were lost {incidents} times"));
            }
        }
        Ok(())
    }

    /// Returns whether a gap has a cause: an event that the client does not have, or that the one `before` is not in Redis
    /// any more, as a node cannot know what else was lost with it.
    fn has_cause(&self, channel: &Channel, got: &Received, gap: &Gap, before: Option<u64>) -> bool {
        let until = got.numbers.get(gap.place).copied().unwrap_or(u64::MAX);
        let between = (before.unwrap_or(0) + 1..).take_while(|number| *number < until);
        let mut published = between.map_while(|number| self.get(channel, number));
        let is_missed =
            published.any(|missed| missed.at < gap.at && (before.is_some() || missed.position > got.start));
        let fate = before.and_then(|number| self.get(channel, number)).map(|accepted| accepted.fate);
        is_missed || fate.is_some_and(|fate| fate != Fate::Stored)
    }

    /// Returns the number of the event at a position; `None` for a position that no event has: zero, or a point in
    /// time.
    fn number_at(&self, channel: &Channel, position: Position) -> Option<u64> {
        let found = self.accepted(channel).iter().position(|accepted| accepted.position == position)?;
        Some(found as u64 + 1)
    }

    fn get(&self, channel: &Channel, number: u64) -> Option<&Accepted> {
        self.accepted(channel).get(index(number))
    }

    fn accepted(&self, channel: &Channel) -> &[Accepted] {
        self.channels.get(channel).map_or(&[], Vec::as_slice)
    }
}

/// Returns where the event with this number, which is at least 1, is among the accepted ones.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX) - 1
}
