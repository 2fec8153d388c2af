//! What goes wrong in a run.

use std::fmt;

use fanfare_protocol::{Channel, Entry, Event, Position};

use crate::world::{TROUBLE_MS, World};

/// Sequence numbers are less than this apart: positions of two servers are never the same.
const MAX_STEP: u64 = 1 << 40;

/// The sequence number of the first forged position: above those that Redis gives.
const FORGED: u64 = 1 << 60;

/// Which faults are drawn. Each kind has those of the ones before it, but that only `Forgeries` and `Everything`
/// forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Faults {
    Moves,
    Wires,
    Logs,
    Forgeries,
    Failovers,
    Clocks,
    Everything,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moves => "moving_clients",
            Self::Wires => "lost_wires",
            Self::Logs => "trimmed_and_expired_logs",
            Self::Forgeries => "forged_live_events",
            Self::Failovers => "failovers",
            Self::Clocks => "clocks_that_are_set_back",
            Self::Everything => "everything",
        })
    }
}

/// Returns whether a position is one that no server has given.
pub(crate) fn is_forged(position: Position) -> bool {
    position.seq >= FORGED && position.seq != u64::MAX
}

impl World {
    /// One fault, of the kinds that the run has.
    pub(crate) fn fault(&mut self) {
        let kinds: &[u8] = match self.faults {
            Faults::Moves => return,
            Faults::Wires => &[0, 1, 2, 3],
            Faults::Logs => &[0, 1, 2, 3, 4, 5],
            Faults::Forgeries => &[0, 1, 2, 3, 4, 5, 10],
            Faults::Failovers => &[0, 1, 2, 3, 4, 5, 6],
            Faults::Clocks => &[0, 1, 2, 3, 4, 5, 6, 7],
            Faults::Everything => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        };
        let node = self.rng.usize(0..self.nodes.len());
        let channel = self.channels[self.rng.usize(0..self.channels.len())].clone();
        let kind = kinds[self.rng.usize(0..kinds.len())];
        self.log.push(format!("{:?} fault {kind} on node {node} or {channel}", self.broker.now()));
        let twin = &self.nodes[node].twin;
        match kind {
            0 => twin.cut(),
            1 => twin.mend(),
            2 => twin.set_failing(true),
            3 => twin.set_failing(false),
            4 => {
                self.ledger.count_incident(&channel);
                self.broker.trim(&channel, self.rng.usize(0..5));
            }
            5 => {
                self.ledger.count_incident(&channel);
                self.broker.expire(&channel);
            }
            6 => self.fail_over(),
            7 => self.step_clock(),
            8 => self.delete(&channel),
            // Rarer, since less is left to check after it.
            9 if self.rng.u8(0..3) == 0 => self.wipe(),
            9 => {}
            _ => self.forge(&channel),
        }
    }

    /// Publishes forged events on a live topic: one or several that follow each other and are in no log, or one that was
    /// there before. Their sequence numbers are above those that Redis assigns, so that no position is guessed.
    fn forge(&mut self, channel: &Channel) {
        self.ledger.count_incident(channel);
        let known = self.ledger.stored(channel);
        let last = known.last().copied().unwrap_or_default();
        let mut before = last;
        for _ in 0..self.rng.usize(1..5) {
            let any = known.get(self.rng.usize(0..=known.len())).copied().unwrap_or_default();
            let previous = [before, before, last, any][self.rng.usize(0..4)];
            let now = self.broker.now();
            let ahead = [0, 40, 70, 10_000, 1 << 60][self.rng.usize(0..5)];
            let ms = [now + self.rng.u64(0..=ahead), previous.ms, any.ms][self.rng.usize(0..3)];
            self.forged += 1;
            let position = Position::new(ms.max(previous.ms), FORGED + self.forged);
            let event = Event::new(None, format!("forged {}", self.forged), 1000).unwrap();
            self.log.push(format!("{now:?} forged {channel} {position} after {previous}"));
            self.broker.forge(channel, Entry { position, previous, event });
            before = position;
        }
    }

    /// A replica takes over, which lacks the newest events of some channels and has another clock.
    fn fail_over(&mut self) {
        for channel in self.channels.clone() {
            let newest = if self.rng.bool() { self.rng.usize(0..4) } else { 0 };
            let lost = self.broker.roll_back(&channel, newest);
            self.log.push(format!("{channel} lost {lost:?}"));
            self.ledger.lose(&channel, &lost);
        }
        self.replace();
    }

    /// Redis restarts empty, or FLUSHALL is called.
    fn wipe(&mut self) {
        self.broker.wipe();
        for channel in &self.channels {
            self.ledger.wipe(channel);
        }
        self.replace();
    }

    /// A channel's keys are deleted or evicted.
    fn delete(&mut self, channel: &Channel) {
        self.broker.forget(channel);
        self.broker.set_sequence_step(self.rng.u64(1..MAX_STEP));
        self.ledger.wipe(channel);
    }

    /// What gives positions is not what gave them before. Half of the time nodes notice, as their connections are
    /// cut; those behind a proxy do not, nor when data is lost under a living Redis.
    fn replace(&mut self) {
        self.broker.set_sequence_step(self.rng.u64(1..MAX_STEP));
        if self.faults >= Faults::Clocks && self.rng.u8(0..3) > 0 {
            self.step_clock();
        }
        if self.rng.bool() {
            for node in &self.nodes {
                node.twin.cut();
            }
        }
    }

    /// The clock of Redis goes back or forward: a little, as NTP does, or by more than a whole run.
    fn step_clock(&mut self) {
        let furthest = [20, 600, 2 * i64::try_from(TROUBLE_MS).unwrap_or(i64::MAX)][self.rng.usize(0..3)];
        let by = self.rng.i64(-furthest..=furthest);
        self.log.push(format!("{:?} the clock goes by {by} ms", self.broker.now()));
        self.broker.step_clock(by);
    }
}
