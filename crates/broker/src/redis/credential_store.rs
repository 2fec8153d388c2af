//! The log of revocations: a stream.

use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::Position;
use fanfare_protocol::json::ByName;
use fanfare_protocol::revocation::Revoked;

use super::error::unexpected;
use super::key::about;
use super::reply::{entries, text};
use super::{RedisBroker, script};
use crate::clock::unix_ms;
use crate::credential_store::{Append, Appended, RevocationEntry};
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
}

/// Returns the time before which entries are removed, in Unix milliseconds.
fn oldest(keep: Duration) -> u64 {
    unix_ms().saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX))
}
