//! The log of revocations.

use async_trait::async_trait;
use fanfare_protocol::revocation::Revoked;
use fanfare_protocol::ticket::TicketId;
use fanfare_protocol::{Position, User};

use super::MemoryBroker;
use crate::credential_store::{Append, Appended, NewTicket, RevocationEntry, TicketUse, TicketUsed};
use crate::{BrokerError, CredentialStore};

/// The log of revocations.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// The greatest position that was ever given.
    last: Position,
    entries: Vec<(Position, Revoked)>,
}

#[async_trait]
impl CredentialStore for MemoryBroker {
    async fn revoke(&self, revoked: &[Revoked], append: Append) -> Result<Appended, BrokerError> {
        let now = self.now();
        Ok(self.state().revocations.append(revoked, append, now))
    }

    async fn revocations(&self, from: Position, limit: usize) -> Result<Vec<RevocationEntry>, BrokerError> {
        let state = self.state();
        let entries = state.revocations.entries.iter().filter(|(position, _)| *position >= from);
        Ok(entries.take(limit).map(|(position, revoked)| (*position, Some(revoked.clone()))).collect())
    }

    async fn create_ticket(&self, user: &User, ticket: &NewTicket) -> Result<bool, BrokerError> {
        let now = self.now();
        Ok(self.state().tickets.create(user, ticket, now))
    }

    async fn use_ticket(&self, user: &User, usage: &TicketUse) -> Result<TicketUsed, BrokerError> {
        let now = self.now();
        Ok(self.state().tickets.use_ticket(user, usage, now))
    }

    async fn return_ticket(&self, user: &User, id: TicketId, opening: u64) -> Result<(), BrokerError> {
        self.state().tickets.give_back(user, id, opening);
        Ok(())
    }
}

impl Revocations {
    fn append(&mut self, revoked: &[Revoked], append: Append, now: u64) -> Appended {
        let Append { limit, keep, after } = append;
        let newest = self.entries.last().map_or(Position::ZERO, |(position, _)| *position);
        if after.is_some_and(|after| after != newest) {
            return Appended::Moved;
        }
        if let Some(keep) = keep {
            let oldest = now.saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
            self.entries.retain(|(position, _)| position.ms >= oldest);
        }
        if self.entries.len() + revoked.len() > limit {
            return Appended::Full;
        }
        let mut newest = newest;
        for revoked in revoked {
            self.last = match self.last.next() {
                Some(next) if next.ms >= now => next,
                _ => Position::new(now, 0),
            };
            self.entries.push((self.last, revoked.clone()));
            newest = self.last;
        }
        Appended::Done(newest)
    }
}
