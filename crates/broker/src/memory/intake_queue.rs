//! The ingest stream, its leader and its dead-letter stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fanfare_protocol::Position;
use fanfare_protocol::publish::Publication;
use tokio::time::Instant;
use uuid::Uuid;

use super::{MemoryBroker, StreamEntry};
use crate::dead_letter::{DeadLetter, DeadLetters, Rejected, Requeued};
use crate::intake::{ChainedEntry, IntakeEntry, IntakeOutcome, Reading, is_ahead};
use crate::lease::NodeId;
use crate::{BrokerError, BrokerSettings, IntakeQueue};

#[async_trait]
impl IntakeQueue for MemoryBroker {
    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError> {
        Ok(self.state().ingest.lead(node, ttl))
    }

    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError> {
        self.state().ingest.resign(node);
        Ok(())
    }

    async fn read_intake(&self, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
        let reading = self.state().ingest.read(node);
        // Wakes readers of earlier readings, which have ended.
        self.ingested.notify_waiters();
        Ok(reading)
    }

    async fn take_intake(
        &self,
        reading: &Reading,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<IntakeEntry>, BrokerError> {
        let deadline = Instant::now() + wait;
        loop {
            // Created before the check, so that an entry added in between is not missed.
            let mut added = std::pin::pin!(self.ingested.notified());
            added.as_mut().enable();
            let taken = self.state().ingest.take(reading, limit)?;
            if !taken.is_empty() || tokio::time::timeout_at(deadline, added).await.is_err() {
                return Ok(taken);
            }
        }
    }

    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<ChainedEntry>,
    ) -> Vec<Result<IntakeOutcome, BrokerError>> {
        entries.into_iter().map(|entry| Ok(self.publish_entry(reading, entry))).collect()
    }

    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError> {
        let now = self.now();
        self.state().ingest.reject(reading, rejected, now, &self.settings)
    }

    async fn dead_letters(
        &self,
        from: Position,
        limit: usize,
        bytes: usize,
    ) -> Result<DeadLetters, BrokerError> {
        Ok(self.state().ingest.dead_letters(from, limit.max(1), bytes))
    }

    async fn requeue_dead(&self, id: Position) -> Result<Requeued, BrokerError> {
        let now = self.now();
        let requeued = self.state().ingest.requeue(id, now);
        self.ingested.notify_waiters();
        Ok(requeued)
    }

    async fn drop_dead(&self, id: Position) -> Result<bool, BrokerError> {
        Ok(self.state().ingest.take_dead(id).is_some())
    }

    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError> {
        self.state().ingest.settle(reading, &published)
    }

    async fn reset_intake(&self, reading: &Reading) -> Result<Option<Position>, BrokerError> {
        let now = self.now();
        let replaced = self.state().ingest.reset(reading, now)?;
        // Wakes the reader, whose reading has ended.
        self.ingested.notify_waiters();
        Ok(replaced)
    }
}

impl MemoryBroker {
    fn publish_entry(&self, reading: &Reading, entry: ChainedEntry) -> IntakeOutcome {
        let ChainedEntry { id, after, publication, until } = entry;
        let Publication { channel, event, key, .. } = publication;
        let mut state = self.state();
        let log = state.channels.entry(channel.clone()).or_default();
        log.age(self.now(), &self.settings.retention.of(&channel));
        let newest = log.newest_of(&reading.generation);
        if newest.is_some_and(|newest| id <= newest) {
            return IntakeOutcome::Repeat;
        }
        if after > newest {
            return IntakeOutcome::Blocked;
        }
        log.mark = Some((Arc::clone(&reading.generation), id));
        let is_seen = key.as_deref().is_some_and(|key| log.seen(key, self.now()).is_some());
        if !is_seen && until.is_some_and(|until| until < self.now()) {
            return IntakeOutcome::Late;
        }
        if self.append(&mut state, &channel, event, key).repeat {
            IntakeOutcome::Repeat
        } else {
            IntakeOutcome::Published
        }
    }
}

/// Entries that are not acknowledged, and the dead-letter stream.
#[derive(Debug, Default)]
pub(super) struct Ingest {
    last: Position,
    /// In the order of their ids.
    entries: VecDeque<IntakeEntry>,
    dead: VecDeque<DeadLetter>,
    /// The current reading, and the newest entry that it returned.
    reading: Option<(Reading, Position)>,
    /// The leader, and until when.
    leader: Option<(NodeId, Instant)>,
}

impl Ingest {
    pub(super) fn add(&mut self, now: u64, fields: Vec<(Bytes, Bytes)>) -> Position {
        let id = Position::new(self.last.ms, self.last.seq + 1).max(Position::new(now, 0));
        self.add_as(id, fields);
        id
    }

    /// Adds an entry with an id of the publisher's choice, greater than all before.
    pub(super) fn add_as(&mut self, id: Position, fields: Vec<(Bytes, Bytes)>) {
        self.last = id;
        self.entries.push_back(IntakeEntry { id, fields });
    }

    /// Deletes the stream with its generation. The leader and the dead-letter stream stay.
    #[cfg(feature = "testing")]
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

    pub(super) fn take(&mut self, reading: &Reading, limit: usize) -> Result<Vec<IntakeEntry>, BrokerError> {
        self.check(reading)?;
        let Some((_, given)) = &mut self.reading else { return Ok(Vec::new()) };
        let start = self.entries.partition_point(|entry| entry.id <= *given);
        let taken: Vec<_> = self.entries.iter().skip(start).take(limit).cloned().collect();
        *given = taken.last().map_or(*given, |newest| newest.id);
        Ok(taken)
    }

    pub(super) fn reject(
        &mut self,
        reading: &Reading,
        rejected: Vec<Rejected>,
        now: u64,
        settings: &BrokerSettings,
    ) -> Result<(), BrokerError> {
        self.check(reading)?;
        for rejected in rejected {
            let Ok(at) = self.entries.binary_search_by_key(&rejected.id, |entry| entry.id) else { continue };
            self.entries.remove(at);
            let last = self.dead.back().map_or(Position::ZERO, |letter| letter.id);
            let dead = Position::new(last.ms, last.seq + 1).max(Position::new(now, 0));
            let entry = rejected.id.to_string();
            let (reason, fields) = rejected.kept(settings.max_data);
            let about =
                [("reason", reason), ("entry", entry)].map(|(name, value)| (name.into(), value.into()));
            self.dead.push_back(DeadLetter::read(dead, about.into_iter().chain(fields).collect()));
        }
        while self.dead.len() > settings.dead_events {
            self.dead.pop_front();
        }
        Ok(())
    }

    pub(super) fn dead_letters(&self, from: Position, limit: usize, bytes: usize) -> DeadLetters {
        let (mut letters, mut room) = (Vec::new(), bytes);
        for letter in self.dead.iter().skip_while(|letter| letter.id < from) {
            let fits = room.checked_sub(letter.reason.len() + letter.entry.len() + letter.bytes());
            if letters.len() == limit || (fits.is_none() && !letters.is_empty()) {
                return DeadLetters { letters, more: true };
            }
            room = fits.unwrap_or_default();
            letters.push(letter.clone());
        }
        DeadLetters { letters, more: false }
    }

    pub(super) fn requeue(&mut self, id: Position, now: u64) -> Requeued {
        match self.dead.iter().find(|letter| letter.id == id) {
            None => Requeued::Gone,
            Some(letter) if !letter.is_complete => Requeued::Incomplete,
            Some(_) => {
                let fields = self.take_dead(id).map(|letter| letter.fields).unwrap_or_default();
                Requeued::As(self.add(now, fields))
            }
        }
    }

    pub(super) fn take_dead(&mut self, id: Position) -> Option<DeadLetter> {
        let at = self.dead.iter().position(|letter| letter.id == id)?;
        self.dead.remove(at)
    }

    /// Returns the dead-letter stream, with its fields as Redis has them.
    pub(super) fn dead(&self) -> Vec<StreamEntry> {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let entry = |letter: &DeadLetter| {
            let about =
                [("reason".to_owned(), letter.reason.clone()), ("entry".to_owned(), letter.entry.clone())];
            let fields = letter.fields.iter().map(|(name, value)| (text(name), text(value)));
            (letter.id, about.into_iter().chain(fields).collect())
        };
        self.dead.iter().map(entry).collect()
    }

    pub(super) fn settle(&mut self, reading: &Reading, published: &[Position]) -> Result<(), BrokerError> {
        self.check(reading)?;
        self.entries.retain(|entry| !published.contains(&entry.id));
        Ok(())
    }

    pub(super) fn reset(&mut self, reading: &Reading, now: u64) -> Result<Option<Position>, BrokerError> {
        self.check(reading)?;
        if !self.entries.is_empty() || !is_ahead(self.last, now) {
            return Ok(None);
        }
        self.reading = None;
        Ok(Some(std::mem::take(&mut self.last)))
    }

    fn check(&self, reading: &Reading) -> Result<(), BrokerError> {
        let is_current = self.reading.as_ref().is_some_and(|(current, _)| current == reading);
        is_current
            .then_some(())
            .ok_or_else(|| BrokerError::Unavailable("this reader is no longer the current one".into()))
    }

    /// Returns the number of entries that are not acknowledged.
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
