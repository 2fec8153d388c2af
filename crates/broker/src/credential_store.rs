//! What nodes share about the credentials of clients: revocations of tokens.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::Position;
use fanfare_protocol::revocation::Revoked;

use crate::BrokerError;

/// The log of revocations.
///
/// An `Err` means that the call was not carried out, or that its outcome is unknown. Every call may be retried.
#[async_trait]
pub trait CredentialStore: fmt::Debug + Send + Sync + 'static {
    /// Appends revocations: all of them, or none.
    async fn revoke(&self, revoked: &[Revoked], append: Append) -> Result<Appended, BrokerError>;

    /// Returns the entries of the log from a position on, which is included, at most `limit`. Greater positions are
    /// those of later entries. A log that lost entries may lack the entry at the position.
    async fn revocations(&self, from: Position, limit: usize) -> Result<Vec<RevocationEntry>, BrokerError>;
}

/// An entry of the log of revocations: its position, and its content, or `None` if no node wrote it.
pub type RevocationEntry = (Position, Option<Revoked>);

/// How revocations are appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    /// Maximum number of entries of the log.
    pub limit: usize,
    /// Entries that are older are removed first; `None` keeps all.
    pub keep: Option<Duration>,
    /// Appends only if this is the position of the last entry; zero if there is none.
    pub after: Option<Position>,
}

/// Result of [`CredentialStore::revoke`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The position of the last entry.
    Done(Position),
    /// The log has no room for these entries. Nothing was appended.
    Full,
    /// The last entry is another one than [`Append::after`]. Nothing was appended.
    Moved,
}
