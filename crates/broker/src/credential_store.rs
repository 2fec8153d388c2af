//! What nodes share about the credentials of clients: revocations of tokens, and tickets.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::revocation::Revoked;
use fanfare_protocol::ticket::{TicketContent, TicketId};
use fanfare_protocol::{Position, SessionId, User};

use crate::BrokerError;

/// The log of revocations, and the tickets of users.
///
/// An `Err` means that the call was not carried out, or that its outcome is unknown. Every call may be retried.
#[async_trait]
pub trait CredentialStore: fmt::Debug + Send + Sync + 'static {
    /// Appends revocations: all of them, or none.
    async fn revoke(&self, revoked: &[Revoked], append: Append) -> Result<Appended, BrokerError>;

    /// Returns the entries of the log from a position on, which is included, at most `limit`. Greater positions are
    /// those of later entries. A log that lost entries may lack the entry at the position.
    async fn revocations(&self, from: Position, limit: usize) -> Result<Vec<RevocationEntry>, BrokerError>;

    /// Stores a ticket of a user. Where the user has `limit` tickets, the one with a session whose last opening is longest
    /// ago makes room. Returns `false` if none has a session.
    async fn create_ticket(&self, user: &User, ticket: &NewTicket) -> Result<bool, BrokerError>;

    /// Uses a ticket of a user. Of any number of concurrent first uses with a session, one is [`TicketUsed::First`].
    async fn use_ticket(&self, user: &User, usage: &TicketUse) -> Result<TicketUsed, BrokerError>;

    /// Undoes a first use, unless the ticket was used again: it is as if it had not been used.
    async fn return_ticket(&self, user: &User, id: TicketId, opening: u64) -> Result<(), BrokerError>;
}

/// A ticket to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTicket {
    /// Its hash.
    pub id: TicketId,
    /// What it allows.
    pub content: TicketContent,
    /// Time in which it must be used first.
    pub life: Duration,
    /// Time for which its session can be reopened; at least `life`.
    pub keep: Duration,
    /// Maximum number of tickets of the user.
    pub limit: usize,
}

/// A use of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketUse {
    /// Its hash.
    pub id: TicketId,
    /// Whether the client resumes a stream: it may reopen the ticket's session.
    pub resumes: bool,
    /// The session that the client named.
    pub named: Option<SessionId>,
    /// The session that a first use binds the ticket to; `None` only looks, and changes nothing.
    pub binds: Option<SessionId>,
}

/// Result of [`CredentialStore::use_ticket`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketUsed {
    /// The first use: what the ticket allows, and the number of this opening.
    First(TicketContent, u64),
    /// A further use, by the ticket's session.
    Again(TicketContent, SessionId),
    /// Refused.
    Refused(TicketRefusal),
}

/// Why a ticket is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketRefusal {
    /// The user has no such ticket, or not any more.
    Unknown,
    /// It was used, and the client does not resume its stream.
    Used,
    /// It was used by another session.
    OtherSession,
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
