//! Acknowledged cursors.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
use fanfare_protocol::reader::Reader;
use fanfare_protocol::{Position, User};
use indexmap::IndexMap;

use super::{MemoryBroker, StreamEntry};
use crate::ack_store::{AckSettings, AckedPosition, Receipt};
use crate::{AckStore, BrokerError};

/// How far a position may be ahead of the clock and still hold up smaller ones, in milliseconds.
const AHEAD_MS: u64 = 60_000;

/// Acknowledged cursors of all users, and receipts.
#[derive(Debug, Default)]
pub(super) struct Acks {
    users: IndexMap<User, IndexMap<Reader, Acked>>,
    pub(super) receipts: Vec<StreamEntry>,
}

#[derive(Debug, Default)]
struct Acked {
    /// Time of the last acknowledgement, in Unix milliseconds.
    at: u64,
    positions: BTreeMap<u64, Position>,
}

#[async_trait]
impl AckStore for MemoryBroker {
    async fn acknowledge(
        &self,
        user: &User,
        reader: &Reader,
        positions: &[AckedPosition],
    ) -> Result<usize, BrokerError> {
        let now = self.now();
        Ok(self.state().acks.acknowledge(&self.settings.acks, now, (user, reader), positions))
    }

    async fn acknowledged(&self, user: &User, reader: &Reader) -> Result<Vec<AckedPosition>, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        state.acks.forget_old(&self.settings.acks, now, user);
        let acked = state.acks.users.get(user).and_then(|readers| readers.get(reader));
        Ok(acked
            .map(|acked| acked.positions.iter().map(|(tag, at)| (*tag, *at)).collect())
            .unwrap_or_default())
    }

    async fn report_receipts(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        let (now, keep) = (self.now(), self.settings.acks.receipts);
        let mut state = self.state();
        for Receipt { user, reader, channel, position } in receipts {
            let id = match state.acks.receipts.last().and_then(|(last, _)| last.next()) {
                Some(next) if next.ms >= now => next,
                _ => Position::new(now, 0),
            };
            let fields = [
                ("user", user.to_string()),
                ("reader", reader.to_string()),
                ("channel", channel.as_str().to_owned()),
                ("id", position.to_string()),
            ];
            state.acks.receipts.push((id, fields.map(|(name, value)| (name.to_owned(), value)).into()));
        }
        let excess = state.acks.receipts.len().saturating_sub(keep);
        state.acks.receipts.drain(..excess);
        Ok(())
    }
}

impl Acks {
    fn acknowledge(
        &mut self,
        settings: &AckSettings,
        now: u64,
        (user, reader): (&User, &Reader),
        positions: &[AckedPosition],
    ) -> usize {
        self.forget_old(settings, now, user);
        let readers = self.users.entry(user.clone()).or_default();
        let acked = readers.entry(reader.clone()).or_default();
        acked.at = now;
        let moved = positions.iter().filter(|(tag, position)| acked.advance(*tag, *position, now)).count();
        while acked.positions.len() > MAX_CURSOR_CHANNELS {
            let least = acked.positions.iter().min_by_key(|(_, position)| **position).map(|(tag, _)| *tag);
            least.and_then(|least| acked.positions.remove(&least));
        }
        // The order is that of the last acknowledgement.
        if let Some(acked) = readers.shift_remove(reader) {
            readers.insert(reader.clone(), acked);
        }
        let excess = readers.len().saturating_sub(settings.readers);
        readers.drain(..excess);
        moved
    }

    /// Removes readers of a user that have not acknowledged anything for long.
    fn forget_old(&mut self, settings: &AckSettings, now: u64, user: &User) {
        let Some(readers) = self.users.get_mut(user) else { return };
        let keep = u64::try_from(settings.keep.as_millis()).unwrap_or(u64::MAX);
        readers.retain(|_, acked| now.saturating_sub(acked.at) <= keep);
        if readers.is_empty() {
            self.users.shift_remove(user);
        }
    }
}

impl Acked {
    /// Moves a position forward, or back from one that is ahead of the clock. Returns whether it moved.
    fn advance(&mut self, tag: u64, position: Position, now: u64) -> bool {
        let held = self.positions.get(&tag).copied();
        let ahead = Position::new(now + AHEAD_MS, 0);
        let moves = held.is_none_or(|held| held < position || (ahead < held && position < ahead));
        if moves {
            self.positions.insert(tag, position);
        }
        moves
    }
}
