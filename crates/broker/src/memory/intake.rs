//! The ingest stream.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::Position;
use tokio::time::Instant;
use uuid::Uuid;

use super::StreamEntry;
use crate::intake::{IntakeEntry, Reading, Settlement};
use crate::lease::NodeId;

/// Entries that are not settled, and those that never can be published.
#[derive(Debug, Default)]
pub(super) struct Ingest {
    last: Position,
    /// In the order of their ids.
    entries: VecDeque<IntakeEntry>,
    pub(super) dead: VecDeque<StreamEntry>,
    /// The reading there is, and the newest entry that it gave.
    reading: Option<(Reading, Position)>,
    /// Who takes entries, and until when.
    leader: Option<(NodeId, Instant)>,
}

impl Ingest {
    pub(super) fn add(&mut self, now: u64, fields: Vec<(Bytes, Bytes)>) -> Position {
        let id = Position::new(self.last.ms, self.last.seq + 1).max(Position::new(now, 0));
        self.add_as(id, fields);
        id
    }

    /// With an id that the publisher chose; greater than all before.
    pub(super) fn add_as(&mut self, id: Position, fields: Vec<(Bytes, Bytes)>) {
        self.last = id;
        self.entries.push_back(IntakeEntry { id, fields });
    }

    /// The stream is gone, and its generation with it. Who leads and what is dead stays.
    pub(super) fn delete(&mut self) {
        self.last = Position::ZERO;
        self.entries.clear();
        self.reading = None;
    }

    pub(super) fn read(&mut self, node: &NodeId) -> Option<Reading> {
        let now = Instant::now();
        self.leader.as_ref().filter(|(leader, until)| leader == node && *until > now)?;
        let unique = || Uuid::new_v4().simple().to_string().into();
        let generation = self.reading.as_ref().map_or_else(unique, |(former, _)| former.generation.clone());
        let reading = Reading { generation, name: unique() };
        self.reading = Some((reading.clone(), Position::ZERO));
        Some(reading)
    }

    pub(super) fn take(&mut self, reading: &Reading, limit: usize) -> Option<Vec<IntakeEntry>> {
        let (_, given) = self.reading.as_mut().filter(|(current, _)| current == reading)?;
        let start = self.entries.partition_point(|entry| entry.id <= *given);
        let taken: Vec<_> = self.entries.iter().skip(start).take(limit).cloned().collect();
        *given = taken.last().map_or(*given, |newest| newest.id);
        Some(taken)
    }

    pub(super) fn settle(&mut self, reading: &Reading, settled: Vec<Settlement>, now: u64, keep_dead: usize) {
        if self.reading.as_ref().is_none_or(|(current, _)| current != reading) {
            return;
        }
        for settlement in settled {
            let id = match settlement {
                Settlement::Done(id) => id,
                Settlement::Dead(entry, reason) => {
                    let last = self.dead.back().map_or(Position::ZERO, |(id, _)| *id);
                    let id = Position::new(last.ms, last.seq + 1).max(Position::new(now, 0));
                    let mut fields =
                        vec![("reason".to_owned(), reason), ("entry".to_owned(), entry.id.to_string())];
                    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                    fields.extend(entry.fields.iter().map(|(name, value)| (text(name), text(value))));
                    self.dead.push_back((id, fields));
                    entry.id
                }
            };
            self.entries.retain(|entry| entry.id != id);
        }
        while self.dead.len() > keep_dead {
            self.dead.pop_front();
        }
    }

    /// How many entries are not settled.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn lead(&mut self, node: &NodeId, ttl: Duration) -> bool {
        let now = Instant::now();
        if self.leader.as_ref().is_some_and(|(leader, until)| leader != node && *until > now) {
            return false;
        }
        self.leader = Some((node.clone(), now + ttl));
        true
    }

    pub(super) fn resign(&mut self, node: &NodeId) {
        if self.leader.as_ref().is_some_and(|(leader, _)| leader == node) {
            self.leader = None;
        }
    }
}
