//! The log of revocations: a stream; and the tickets of a user: a hash.

use std::time::Duration;

use ::redis::Value;
use async_trait::async_trait;
use fanfare_protocol::json::ByName;
use fanfare_protocol::revocation::Revoked;
use fanfare_protocol::ticket::TicketId;
use fanfare_protocol::{Position, User};

use super::error::unexpected;
use super::key::about;
use super::reply::{array, entries, is_one, millis, text};
use super::{RedisBroker, script};
use crate::clock::unix_ms;
use crate::credential_store::{
    Append, Appended, NewTicket, RevocationEntry, TicketRefusal, TicketUse, TicketUsed,
};
use crate::{BrokerError, CredentialStore};

#[async_trait]
impl CredentialStore for RedisBroker {
    async fn revoke(&self, revoked: &[Revoked], append: Append) -> Result<Appended, BrokerError> {
        let Append { limit, keep, after } = append;
        let revocations = self.keys.revocations();
        let mut call = script::REVOKE.call(&[&revocations]);
        call.arg(after.map(|after| after.to_string()).unwrap_or_default()).arg(limit);
        call.arg(keep.map_or(0, oldest));
        for revoked in revoked {
            call.arg(
                serde_json::to_string(revoked).map_err(|error| BrokerError::Refused(error.to_string()))?,
            );
        }
        let last = text(self.commands(&revocations).call_script(&script::REVOKE, call).await?);
        match last.as_deref() {
            Some("full") => Ok(Appended::Full),
            Some("moved") => Ok(Appended::Moved),
            last => {
                let position = last.and_then(|last| Position::parse(last.as_bytes()).ok());
                position.map(Appended::Done).ok_or_else(|| unexpected("a position"))
            }
        }
    }

    async fn revocations(&self, from: Position, limit: usize) -> Result<Vec<RevocationEntry>, BrokerError> {
        let revocations = self.keys.revocations();
        let mut range = about("XRANGE", &revocations);
        range.arg(from.to_string()).arg("+").arg("COUNT").arg(limit);
        let reply = self.reads(&revocations).command(range).await?;
        let entries = entries(reply).ok_or_else(|| unexpected("entries"))?;
        let revoked = |fields: Vec<(bytes::Bytes, bytes::Bytes)>| {
            let (_, text) = fields.into_iter().find(|(name, _)| name == "revoked")?;
            serde_json::from_slice(&text).map(|ByName(revoked)| revoked).ok()
        };
        Ok(entries.into_iter().flatten().map(|(position, fields)| (position, revoked(fields))).collect())
    }

    async fn create_ticket(&self, user: &User, ticket: &NewTicket) -> Result<bool, BrokerError> {
        let NewTicket { id, content, life, keep, limit } = ticket;
        let content =
            serde_json::to_string(content).map_err(|error| BrokerError::Refused(error.to_string()))?;
        let tickets = self.keys.tickets(user);
        let mut call = script::CREATE_TICKET.call(&[&tickets]);
        call.arg(id.to_string()).arg(millis(*life)).arg(millis(*keep)).arg(limit).arg(content);
        is_one(&self.commands(&tickets).call_script(&script::CREATE_TICKET, call).await?)
    }

    async fn use_ticket(&self, user: &User, usage: &TicketUse) -> Result<TicketUsed, BrokerError> {
        let TicketUse { id, resumes, named, binds } = usage;
        let tickets = self.keys.tickets(user);
        let mut call = script::USE_TICKET.call(&[&tickets]);
        call.arg(id.to_string()).arg(u8::from(*resumes));
        call.arg(named.map(|session| session.to_string()).unwrap_or_default());
        call.arg(binds.map(|session| session.to_string()).unwrap_or_default());
        let reply = self.commands(&tickets).call_script(&script::USE_TICKET, call).await?;
        used(reply).ok_or_else(|| unexpected("the use of a ticket"))
    }

    async fn return_ticket(&self, user: &User, id: TicketId, opening: u64) -> Result<(), BrokerError> {
        let tickets = self.keys.tickets(user);
        let mut call = script::RETURN_TICKET.call(&[&tickets]);
        call.arg(id.to_string()).arg(opening);
        self.commands(&tickets).call_script(&script::RETURN_TICKET, call).await.map(drop)
    }
}

/// Reads the reply of the script that uses a ticket.
fn used(reply: Value) -> Option<TicketUsed> {
    let mut parts = array(reply)?.into_iter().map(text);
    let mut next = || parts.next().flatten();
    let refusal = match next()?.as_str() {
        "first" => {
            let opening = next()?.parse().ok()?;
            return Some(TicketUsed::First(serde_json::from_str(&next()?).ok()?, opening));
        }
        "again" => {
            let session = next()?.parse().ok()?;
            return Some(TicketUsed::Again(serde_json::from_str(&next()?).ok()?, session));
        }
        "unknown" => TicketRefusal::Unknown,
        "used" => TicketRefusal::Used,
        "other" => TicketRefusal::OtherSession,
        _ => return None,
    };
    Some(TicketUsed::Refused(refusal))
}

/// Returns the time before which entries are removed, in Unix milliseconds.
fn oldest(keep: Duration) -> u64 {
    unix_ms().saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX))
}
