//! What was published, and whether a client got what it had to.

use std::collections::{BTreeMap, HashMap};

use fanfare_protocol::{Channel, Position};

/// Everything that was ever accepted.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    channels: HashMap<Channel, Accepted>,
}

#[derive(Debug, Default)]
struct Accepted {
    /// Each position, and whether it was lost by a failover before anybody could be sure of it.
    positions: BTreeMap<Position, bool>,
    /// The positions at which the channel was wiped: what came before is not in the log any more.
    wiped: Vec<Position>,
}

/// What one client received in one channel while it followed it without a break.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) start: Position,
    pub(crate) positions: Vec<Position>,
    /// Before which of `positions` a gap was told.
    pub(crate) gaps: Vec<usize>,
}

impl Ledger {
    pub(crate) fn accept(&mut self, channel: &Channel, position: Position) {
        self.channels.entry(channel.clone()).or_default().positions.insert(position, false);
    }

    pub(crate) fn lose(&mut self, channel: &Channel, positions: &[Position]) {
        let accepted = self.channels.entry(channel.clone()).or_default();
        for position in positions {
            accepted.positions.insert(*position, true);
        }
    }

    pub(crate) fn wipe(&mut self) {
        for accepted in self.channels.values_mut() {
            let last = accepted.positions.keys().next_back().copied().unwrap_or_default();
            accepted.wiped.push(last);
        }
    }

    /// Whether the client got everything, once and in order, and was told of each loss and of no other. `finished`
    /// if it must also have the newest event.
    pub(crate) fn check(&self, channel: &Channel, got: &Received, finished: bool) -> Result<(), String> {
        let none = Accepted::default();
        let accepted = self.channels.get(channel).unwrap_or(&none);
        let fail = |why: String| Err(format!("{channel}: {why}\nreceived: {got:?}"));
        if let Some(pair) = got.positions.windows(2).find(|pair| pair[0] >= pair[1]) {
            return fail(format!("twice or out of order: {pair:?}"));
        }
        if let Some(stray) = got.positions.iter().find(|position| !accepted.positions.contains_key(position))
        {
            return fail(format!("never published: {stray}"));
        }
        if let Some(early) = got.positions.iter().find(|position| **position <= got.start) {
            return fail(format!("not after the start: {early}"));
        }
        let newest = accepted.positions.iter().rfind(|(_, lost)| !**lost).map(|(position, _)| *position);
        if finished
            && newest.is_some_and(|newest| newest > got.start)
            && got.positions.last() != newest.as_ref()
        {
            return fail(format!("never caught up with {newest:?}"));
        }
        let last = got.positions.last().copied().unwrap_or(got.start);
        for (&missed, _) in accepted.positions.range(..=last).filter(|(position, lost)| {
            **position > got.start && !**lost && got.positions.binary_search(position).is_err()
        }) {
            let before = got.positions.partition_point(|position| *position < missed);
            let held = if before == 0 { got.start } else { got.positions[before - 1] };
            // A client that held nothing cannot know that a log was wiped.
            let unknowable = held == Position::ZERO && accepted.wiped.iter().any(|wiped| *wiped >= missed);
            if !got.gaps.contains(&before) && !unknowable {
                return fail(format!("{missed} was lost in silence"));
            }
        }
        for &gap in &got.gaps {
            let after = if gap == 0 { got.start } else { got.positions[gap - 1] };
            let until = got.positions.get(gap).copied();
            let missed =
                |position: &Position| *position > after && until.is_none_or(|until| *position < until);
            let wiped = accepted.wiped.iter().any(|wiped| *wiped >= after);
            // A failover that lost every event since the last wipe leaves a log born anew, as a wipe does.
            let born = accepted.wiped.iter().rfind(|wiped| **wiped < after).copied().unwrap_or_default();
            let reborn = accepted.positions.range(..=after).all(|(at, lost)| *lost || *at <= born);
            // Of an entry that a failover lost, a node that has just come to know the client cannot tell what came before.
            let held_lost = accepted.positions.get(&after) == Some(&true);
            if !accepted.positions.keys().any(missed) && !wiped && !reborn && !held_lost {
                return fail(format!("told of a gap after {after} where nothing was lost"));
            }
        }
        Ok(())
    }
}
