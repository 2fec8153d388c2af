//! The descriptions of sessions, tokens, tickets and acknowledgements.

use fanfare_api::ack::{Ack, Acked, AckedCursor};
use fanfare_api::revocations::TokenReplaced;
use fanfare_api::sessions::{Disconnected, SessionList};
use fanfare_api::tickets::{Ticket, TicketRequest};
use serde_json::json;

use super::call::Call;
use super::schema;
use crate::http::problem::Code;

/// Describes `GET /v1/users/{user}/sessions`.
pub(in crate::http) fn list() -> Call {
    Call::new("listSessions", "sessions", "List the sessions of a user")
        .about("Sessions of other users need the right `look`, and are served on the admin listener if there is one.")
        .path("user", "The user", schema::user())
        .answers::<SessionList>(200, "The sessions")
        .refuses(&[Code::NotFound])
}

/// Describes `DELETE /v1/users/{user}/sessions`.
pub(in crate::http) fn end_all() -> Call {
    Call::new("disconnectUser", "sessions", "Disconnect all sessions of a user")
        .about("Sessions of other users need the right `disconnect`, and are served on the admin listener if there is one.")
        .path("user", "The user", schema::user())
        .query("revoke", "Whether the tokens issued until now are revoked first", json!({ "type": "boolean", "default": false }))
        .answers::<Disconnected>(200, "The sessions were disconnected")
        .refuses(&[Code::NotFound, Code::RevocationsFull])
}

/// Describes `DELETE /v1/users/{user}/sessions/{session}`.
pub(in crate::http) fn end_one() -> Call {
    Call::new("disconnectSession", "sessions", "Disconnect one session")
        .path("user", "The user", schema::user())
        .path("session", "The session", schema::session())
        .answers::<Disconnected>(200, "The session was disconnected")
        .refuses(&[Code::NotFound])
}

/// Describes `POST /v1/sessions/{session}/token`.
pub(in crate::http) fn replace_token() -> Call {
    Call::new("replaceToken", "sessions", "Replace the token of an open stream by that of the request")
        .path("session", "The session", schema::session())
        .answers::<TokenReplaced>(200, "The command was sent to the node of the stream")
        .refuses(&[Code::NotFound])
}

/// Describes `GET /v1/ack`.
pub(in crate::http) fn acknowledged() -> Call {
    Call::new("getAcknowledged", "sessions", "Get the acknowledged cursor of a device or a session")
        .query("device", "The device; either this or `session` is required", schema::device())
        .query("session", "The session", schema::session())
        .answers::<AckedCursor>(200, "The cursor")
}

/// Describes `POST /v1/ack`.
pub(in crate::http) fn acknowledge() -> Call {
    let (call, one) =
        Call::new("acknowledge", "sessions", "Acknowledge events: one acknowledgement, or an array")
            .reference::<Ack>();
    let body = json!({ "oneOf": [one, { "type": "array", "items": one, "maxItems": 100 }] });
    call.takes_schema(true, "One acknowledgement, or an array", body)
        .answers::<Acked>(200, "All are stored")
        .refuses(&[Code::BadCursor, Code::BadChannel])
}

/// Describes `POST /v1/tickets`.
pub(in crate::http) fn issue_ticket() -> Call {
    Call::new("createTicket", "sessions", "Create a ticket, which opens one stream in place of a token")
        .takes::<TicketRequest>(
            false,
            "The channels of the stream; without a body, all that the token grants",
        )
        .answers::<Ticket>(200, "The ticket")
        .refuses(&[Code::UserTickets, Code::InternalHere])
}
