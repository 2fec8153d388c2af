//! Calls, and the faults that they can have.

use std::time::Duration;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `EventLog::publish` and `publish_known`, and `IntakeQueue::publish_intake`.
    Publish,
    /// `EventLog::page`.
    Page,
    /// `SessionStore::claim`.
    Claim,
    /// `SessionStore::release`.
    Release,
    /// `SessionStore::renew`.
    Renew,
    /// `SessionStore::sessions`.
    Sessions,
    /// `SessionStore::presence`.
    Presence,
    /// `SessionStore::send`.
    Send,
    /// `Membership::lease`.
    Lease,
    /// `Membership::leave`.
    Leave,
    /// `Membership::nodes`.
    Nodes,
    /// `Membership::sweep`.
    Sweep,
    /// `CredentialStore::revoke`.
    Revoke,
    /// `CredentialStore::revocations`.
    Revocations,
    /// `AckStore::acknowledge`.
    Acknowledge,
    /// `AckStore::acknowledged`.
    Acknowledged,
    /// `AckStore::report_receipts`.
    Receipts,
    /// `CredentialStore::create_ticket`.
    CreateTicket,
    /// `CredentialStore::use_ticket`.
    UseTicket,
    /// `CredentialStore::return_ticket`.
    ReturnTicket,
    /// `IntakeQueue::lead_intake`.
    Lead,
    /// `IntakeQueue::resign_intake`.
    Resign,
    /// `IntakeQueue::read_intake`.
    Read,
    /// `IntakeQueue::take_intake`.
    Take,
    /// `IntakeQueue::reject_intake`.
    Reject,
    /// `IntakeQueue::dead_letters`.
    DeadLetters,
    /// `IntakeQueue::requeue_dead`.
    RequeueDead,
    /// `IntakeQueue::drop_dead`.
    DropDead,
    /// `IntakeQueue::settle_intake`.
    Settle,
    /// `IntakeQueue::reset_intake`.
    Reset,
    /// The calls of `StreamStore`.
    Stream,
    /// `Membership::prepare`.
    Prepare,
}

/// Fault of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not carried out.
    Unavailable,
    /// Carried out, but the reply is lost.
    ReplyLost,
    /// Not carried out, and a retry is useless.
    Refused,
    /// Carried out after a delay.
    Late(Duration),
    /// Carried out, with a delayed reply.
    LateReply(Duration),
    /// Not carried out, with a delayed error.
    LateError(Duration),
    /// Never answered.
    Hung,
    /// No fault: lets a call pass before the next fault.
    Fine,
}
