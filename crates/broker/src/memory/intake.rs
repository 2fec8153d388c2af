//! The ingest stream.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::Position;
use tokio::time::Instant;

use super::StreamEntry;
use crate::intake::{IntakeEntry, Settlement};
use crate::lease::NodeId;

/// Entries that wait, those that were taken, and those that never can be published.
#[derive(Debug, Default)]
pub(super) struct Ingest {
    last: Position,
    waiting: VecDeque<IntakeEntry>,
    taken: VecDeque<IntakeEntry>,
    pub(super) dead: VecDeque<StreamEntry>,
    /// Who takes entries, and until when.
    leader: Option<(NodeId, Instant)>,
}

impl Ingest {
    pub(super) fn add(&mut self, now: u64, fields: Vec<(Bytes, Bytes)>) -> Position {
        let id = Position::new(self.last.ms, self.last.seq + 1).max(Position::new(now, 0));
        self.last = id;
        self.waiting.push_back(IntakeEntry { id, fields });
        id
    }

    pub(super) fn take_again(&self, limit: usize) -> Vec<IntakeEntry> {
        self.taken.iter().take(limit).cloned().collect()
    }

    pub(super) fn take(&mut self, limit: usize) -> Vec<IntakeEntry> {
        let taken: Vec<_> = self.waiting.drain(..limit.min(self.waiting.len())).collect();
        self.taken.extend(taken.iter().cloned());
        taken
    }

    pub(super) fn settle(&mut self, settled: Vec<Settlement>, now: u64, keep_dead: usize) {
        for settlement in settled {
            let id = match settlement {
                Settlement::Done { id, .. } => id,
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
            self.taken.retain(|entry| entry.id != id);
        }
        while self.dead.len() > keep_dead {
            self.dead.pop_front();
        }
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
