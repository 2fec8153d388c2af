//! One channel's log, last position, mark and idempotency keys.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Entry, Event, Position};
use indexmap::IndexMap;

use crate::Retention;
use crate::log::{Likely, NEWEST_BYTES, NEWEST_EVENTS, Page, PageLimit, event_bytes};

/// State of one channel.
#[derive(Debug, Default)]
pub(super) struct ChannelState {
    pub(super) log: VecDeque<Arc<Entry>>,
    /// The last position; outlives the entries.
    pub(super) last: Position,
    /// Generation and id of the newest intake entry that was published here. Kept with `last`.
    pub(super) mark: Option<(Arc<str>, Position)>,
    /// Idempotency keys: the position, and the expiry in Unix milliseconds. In order of creation.
    once: IndexMap<String, (Position, u64)>,
    /// Number of keys at which expired keys are removed again.
    once_full: usize,
}

/// Minimum number of keys at which expired keys are removed.
const ONCE_FEW: usize = 64;

impl ChannelState {
    /// Drops expired events, keys and positions.
    pub(super) fn age(&mut self, now: u64, retention: &Retention) {
        let oldest = now.saturating_sub(millis(retention.age));
        while self.log.front().is_some_and(|entry| entry.position.ms < oldest) {
            self.log.pop_front();
        }
        if self.last > Position::ZERO && self.last.ms < now.saturating_sub(millis(retention.positions)) {
            self.last = Position::ZERO;
            self.mark = None;
        }
        if self.once.len() > self.once_full.max(ONCE_FEW) {
            self.once.retain(|_, &mut (_, until)| until > now);
            self.once_full = self.once.len() * 2;
        }
    }

    /// Appends an event `step` after the last position, or at `now` if that is later.
    pub(super) fn append(&mut self, now: u64, step: u64, event: Event, retention: &Retention) -> Arc<Entry> {
        let previous = self.last;
        // Positions follow the clock, which never reaches the maximum.
        let next = Position::new(previous.ms, previous.seq.saturating_add(step));
        let position = next.max(Position::new(now, step - 1));
        let entry = Arc::new(Entry { position, previous, event });
        self.last = position;
        self.log.push_back(Arc::clone(&entry));
        while self.log.len() > retention.events.max(1) {
            self.log.pop_front();
        }
        entry
    }

    pub(super) fn seen(&self, key: &str, now: u64) -> Option<Position> {
        self.once.get(key).filter(|&&(_, until)| until > now).map(|&(position, _)| position)
    }

    pub(super) fn remember(&mut self, key: String, position: Position, now: u64, ttl: Duration) {
        self.once.insert(key, (position, now + millis(ttl)));
    }

    /// Returns the newest intake entry of a generation that was published here, if it is known.
    pub(super) fn newest_of(&self, generation: &str) -> Option<Position> {
        self.mark.as_ref().filter(|(of, _)| **of == *generation).map(|&(_, id)| id)
    }

    pub(super) fn page(&self, after: Position, limit: PageLimit, now: u64) -> Page {
        let start = self.log.partition_point(|entry| entry.position <= after);
        let mut bytes = 0;
        let fits = |entry: &&Arc<Entry>| {
            bytes += event_bytes(&entry.event);
            bytes <= limit.bytes
        };
        let entries: Vec<_> =
            self.log.iter().skip(start).take(limit.entries.max(1)).take_while(fits).cloned().collect();
        let needs = self.log.get(start).filter(|_| entries.is_empty()).map(|first| event_bytes(&first.event));
        let end = start + entries.len() == self.log.len();
        let next = entries.last().map_or(after, |entry| entry.position);
        let is_untimed = match limit.likely {
            Likely::Empty { timed } => !timed && entries.is_empty(),
            Likely::Short { .. } => matches!(entries.len(), 1 | 2),
            Likely::Long => false,
        };
        let now = (!is_untimed).then_some(now);
        Page { entries, next, end, malformed: 0, first_malformed: None, last: self.last, needs, now }
    }

    pub(super) fn locate(&self, from: StartAt) -> Position {
        match from {
            StartAt::Position(position) | StartAt::Tip(position) => position,
            StartAt::Latest => self.last,
            StartAt::Earliest => self.log.front().map_or(self.last, |first| first.previous),
            StartAt::Newest(n) => self.locate_newest(n),
            StartAt::Time(time) => self.locate_time(time),
        }
    }

    fn locate_newest(&self, n: usize) -> Position {
        let mut bytes = 0;
        let fits = |entry: &&Arc<Entry>| {
            let is_first = bytes == 0;
            bytes += event_bytes(&entry.event);
            is_first || bytes <= NEWEST_BYTES
        };
        let meant = self.log.iter().rev().take(n.min(NEWEST_EVENTS)).take_while(fits);
        meant.last().map_or(self.last, |entry| entry.previous)
    }

    fn locate_time(&self, time: Position) -> Position {
        let younger = self.log.partition_point(|entry| entry.position <= time);
        match (younger.checked_sub(1).map(|i| &self.log[i]), self.log.front()) {
            (Some(at), _) => at.position,
            (None, Some(first)) if first.previous <= time => first.previous,
            (None, None) if self.last <= time => self.last,
            _ => time,
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
