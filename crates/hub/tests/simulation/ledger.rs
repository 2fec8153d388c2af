//! What was published, and whether a client got what it had to.
//!
//! The verdict looks at the numbers that events carry in their data, which no rule of the hub knows. Positions are only
//! used to find the number at which a client began.

use std::collections::HashMap;

use fanfare_protocol::{Channel, Position};

use crate::faults::is_forged;

/// Everything that was ever accepted.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    channels: HashMap<Channel, Vec<Accepted>>,
}

/// One event; its number is its place in the channel, beginning with 1.
#[derive(Debug)]
struct Accepted {
    position: Position,
    fate: Fate,
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
    /// Before which of `numbers` a gap was announced.
    pub(crate) gaps: Vec<usize>,
    /// Before which of `numbers` the cursor moved with the last gap that moved it.
    pub(crate) moved: Option<usize>,
    /// Before which of `numbers` it was shown a forged event.
    pub(crate) forged: Vec<usize>,
}

/// How far a client must have come, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finish {
    /// It has left.
    Anywhere,
    /// It has the newest event, or a gap behind all that it has.
    OrGap,
    /// It has the newest event.
    Newest,
}

impl Received {
    pub(crate) fn new(start: Position) -> Self {
        Self { start, numbers: Vec::new(), gaps: Vec::new(), moved: None, forged: Vec::new() }
    }

    /// Returns the number of the event before the one at `index`, or of the event at which the stream began.
    fn before(&self, index: usize, start: Option<u64>) -> Option<u64> {
        if index == 0 { start } else { Some(self.numbers[index - 1]) }
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
        accepted.push(Accepted { position, fate: Fate::Stored });
    }

    /// Returns the positions of what is stored, in order.
    pub(crate) fn stored(&self, channel: &Channel) -> Vec<Position> {
        let stored = self.accepted(channel).iter().filter(|accepted| accepted.fate == Fate::Stored);
        stored.map(|accepted| accepted.position).collect()
    }

    /// A failover lost these.
    pub(crate) fn lose(&mut self, channel: &Channel, positions: &[Position]) {
        for accepted in self.channels.get_mut(channel).into_iter().flatten() {
            if positions.contains(&accepted.position) {
                accepted.fate = Fate::Lost;
            }
        }
    }

    /// A channel was deleted.
    pub(crate) fn wipe(&mut self, channel: &Channel) {
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
        if finish == Finish::Anywhere || finish == Finish::OrGap && got.gaps.contains(&got.numbers.len()) {
            return true;
        }
        let all = self.accepted(channel);
        let newest = all.iter().rposition(|accepted| accepted.fate == Fate::Stored);
        newest.is_none_or(|newest| {
            got.numbers.last().is_some_and(|last| index(*last) >= newest)
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
            if accepted.fate != Fate::Lost && !got.gaps.contains(&place) && !unknowable {
                return Err(format!("{missed} was lost in silence"));
            }
        }
        Ok(())
    }

    /// Each gap has a cause: an event between its neighbors, or that the one before it is not in Redis any more, as a
    /// node cannot know what else was lost with it; and a forged event never was there.
    fn check_gaps(&self, channel: &Channel, got: &Received, start: Option<u64>) -> Result<(), String> {
        for &gap in &got.gaps {
            let before = got.before(gap, start);
            let until = got.numbers.get(gap).copied().unwrap_or(u64::MAX);
            let between = (before.unwrap_or(0) + 1..).take_while(|number| *number < until);
            let missed = between.map_while(|number| self.get(channel, number)).any(|accepted| match before {
                Some(_) => true,
                None => accepted.position > got.start,
            });
            let gone = before.and_then(|number| self.get(channel, number)).map(|accepted| accepted.fate);
            let forged = got.forged.contains(&gap) || gap == 0 && is_forged(got.start);
            if !missed && !forged && gone.is_none_or(|fate| fate == Fate::Stored) {
                return Err(format!("a gap after {before:?} where nothing was lost"));
            }
        }
        Ok(())
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
