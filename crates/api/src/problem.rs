//! Error responses: `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// Path of the page that lists the problem types: with `#` and the code, the `type` of a problem (RFC 9457, section
/// 3.1.1).
pub const TYPES_PATH: &str = "/v1/problems";

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error response, or the error of an item of a batch (RFC 9457, section 3.1). Displays as one line: `title:
/// detail`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Problem))]
pub struct ProblemDetails {
    /// URI reference of the problem type: `/v1/problems#` and the code.
    #[serde(rename = "type", default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub type_uri: String,
    /// Kind of the problem, by which clients distinguish problems.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub code: Cow<'static, str>,
    /// Title, which is the same for every problem of the kind.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub title: Cow<'static, str>,
    /// HTTP status; 0 if the document has none.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub status: u16,
    /// Human-readable explanation of this occurrence.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub detail: String,
}

impl ProblemDetails {
    /// Creates the document of a problem.
    pub fn new(code: Code, detail: String) -> Self {
        let (word, status, title) = code.parts();
        Self {
            type_uri: format!("{TYPES_PATH}#{word}"),
            code: word.into(),
            title: title.into(),
            status: status.as_u16(),
            detail,
        }
    }
}

impl fmt::Display for ProblemDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if !self.detail.is_empty() && self.detail != self.title {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for ProblemDetails {}

/// Kind of a problem. Part of the public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A parameter, header or path is invalid.
    BadRequest,
    /// The cursor is invalid.
    BadCursor,
    /// The channel name is invalid.
    BadChannel,
    /// The event cannot be published.
    BadEvent,
    /// The body is not JSON of the expected form.
    BadJson,
    /// The request has no token.
    NoToken,
    /// The token is not accepted.
    BadToken,
    /// The token has expired.
    ExpiredToken,
    /// The token was revoked.
    RevokedToken,
    /// The ticket is unknown, or its time is over.
    BadTicket,
    /// The ticket was used before, by another stream.
    UsedTicket,
    /// The application does not accept the credentials.
    Unauthenticated,
    /// The token does not grant this.
    NoGrant,
    /// The request comes from a page of another origin, with credentials that the browser added.
    ForeignOrigin,
    /// The path or the resource does not exist.
    NotFound,
    /// The `Host` is not one of `http.allowed_hosts`.
    Misdirected,
    /// The path does not support the method.
    MethodNotAllowed,
    /// The broker refuses the request until an operator fixes the cause.
    Refused,
    /// The body, an event or a batch exceeds a limit.
    TooLarge,
    /// The head exceeds a limit, or leaves too little room for the cursor.
    HeadTooLarge,
    /// The body has another media type.
    MediaType,
    /// The body is compressed or otherwise coded.
    ContentCoding,
    /// The expectation cannot be met.
    Expectation,
    /// The precondition is false.
    Precondition,
    /// The method or transfer coding is unknown.
    NotImplemented,
    /// The entry was truncated.
    Incomplete,
    /// There is no room for another revocation.
    RevocationsFull,
    /// The user has reached the session limit.
    UserSessions,
    /// The user has reached the limit of unused tickets.
    UserTickets,
    /// The user or the address exceeds a rate.
    RateLimited,
    /// The user has reached the limit of concurrent calls that read logs.
    UserReads,
    /// Internal error.
    Internal,
    /// Internal error; another node may succeed.
    InternalHere,
    /// The broker does not answer, or refuses all requests of this kind.
    Unavailable,
    /// The node has reached a limit of streams.
    Overloaded,
    /// The node has used up `limits.memory`.
    Busy,
    /// The client has used up its share of `limits.memory`.
    ShareUsed,
    /// The request arrived too slowly.
    RequestTimeout,
    /// The node is draining.
    Draining,
    /// The stream, or the place in it, existed and does no longer.
    Gone,
    /// The finite stream exists with other settings.
    StreamExists,
    /// The finite stream has ended.
    StreamClosed,
    /// The state of the finite stream does not allow this.
    StreamConflict,
    /// Appends of the producer are missing.
    ProducerGap,
    /// The producer has started again meanwhile.
    StaleProducer,
}

impl Code {
    /// All kinds, in the order of the variants.
    pub const ALL: [Self; 45] = [
        Self::BadRequest,
        Self::BadCursor,
        Self::BadChannel,
        Self::BadEvent,
        Self::BadJson,
        Self::NoToken,
        Self::BadToken,
        Self::ExpiredToken,
        Self::RevokedToken,
        Self::BadTicket,
        Self::UsedTicket,
        Self::Unauthenticated,
        Self::NoGrant,
        Self::ForeignOrigin,
        Self::NotFound,
        Self::Misdirected,
        Self::MethodNotAllowed,
        Self::Refused,
        Self::TooLarge,
        Self::HeadTooLarge,
        Self::MediaType,
        Self::ContentCoding,
        Self::Expectation,
        Self::Precondition,
        Self::NotImplemented,
        Self::Incomplete,
        Self::RevocationsFull,
        Self::UserSessions,
        Self::UserTickets,
        Self::RateLimited,
        Self::UserReads,
        Self::Internal,
        Self::InternalHere,
        Self::Unavailable,
        Self::Overloaded,
        Self::Busy,
        Self::ShareUsed,
        Self::RequestTimeout,
        Self::Draining,
        Self::Gone,
        Self::StreamExists,
        Self::StreamClosed,
        Self::StreamConflict,
        Self::ProducerGap,
        Self::StaleProducer,
    ];

    /// Returns the code, by which clients distinguish problems.
    pub fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// Returns the HTTP status.
    pub fn status(self) -> StatusCode {
        self.parts().1
    }

    /// Returns the title, which is the same for every problem of the kind.
    pub fn title(self) -> &'static str {
        self.parts().2
    }

    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::BadRequest => ("bad-request", StatusCode::BAD_REQUEST, "Invalid request"),
            Self::BadCursor => ("bad-cursor", StatusCode::BAD_REQUEST, "Invalid cursor"),
            Self::BadChannel => ("bad-channel", StatusCode::BAD_REQUEST, "Invalid channel name"),
            Self::BadEvent => ("bad-event", StatusCode::BAD_REQUEST, "Invalid event"),
            Self::BadJson => ("bad-json", StatusCode::BAD_REQUEST, "Invalid JSON body"),
            Self::NoToken => ("no-token", StatusCode::UNAUTHORIZED, "Missing token"),
            Self::BadToken => ("bad-token", StatusCode::UNAUTHORIZED, "Invalid token"),
            Self::ExpiredToken => ("expired-token", StatusCode::UNAUTHORIZED, "Expired token"),
            Self::RevokedToken => ("revoked-token", StatusCode::UNAUTHORIZED, "Revoked token"),
            Self::BadTicket => ("bad-ticket", StatusCode::UNAUTHORIZED, "Invalid ticket"),
            Self::UsedTicket => ("used-ticket", StatusCode::UNAUTHORIZED, "Ticket used before"),
            Self::Unauthenticated => {
                ("unauthenticated", StatusCode::UNAUTHORIZED, "Credentials not accepted")
            }
            Self::NoGrant => ("no-grant", StatusCode::FORBIDDEN, "Permission denied"),
            Self::ForeignOrigin => ("foreign-origin", StatusCode::FORBIDDEN, "Origin not allowed"),
            Self::Misdirected => ("misdirected", StatusCode::MISDIRECTED_REQUEST, "Host not allowed"),
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
            }
            Self::Refused => ("refused", StatusCode::CONFLICT, "Refused by Redis"),
            Self::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "Content too large"),
            Self::HeadTooLarge => {
                ("head-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request head too large")
            }
            Self::MediaType => ("media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type"),
            Self::ContentCoding => {
                ("content-coding", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content coding")
            }
            Self::Expectation => ("expectation", StatusCode::EXPECTATION_FAILED, "Expectation failed"),
            Self::Precondition => ("precondition", StatusCode::PRECONDITION_FAILED, "Precondition failed"),
            Self::NotImplemented => ("not-implemented", StatusCode::NOT_IMPLEMENTED, "Not implemented"),
            Self::Incomplete => ("incomplete", StatusCode::CONFLICT, "Entry truncated"),
            Self::RevocationsFull => ("revocations-full", StatusCode::CONFLICT, "Too many revocations"),
            Self::UserSessions => {
                ("user-sessions", StatusCode::TOO_MANY_REQUESTS, "Too many sessions of the user")
            }
            Self::UserTickets => {
                ("user-tickets", StatusCode::TOO_MANY_REQUESTS, "Too many tickets of the user")
            }
            Self::RateLimited => ("rate-limited", StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Self::UserReads => {
                ("user-reads", StatusCode::TOO_MANY_REQUESTS, "Too many history calls of the user")
            }
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
            Self::InternalHere => ("internal", StatusCode::SERVICE_UNAVAILABLE, "Internal error"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Redis unavailable"),
            Self::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "Node overloaded"),
            Self::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "Node out of memory"),
            Self::ShareUsed => ("share-used", StatusCode::TOO_MANY_REQUESTS, "Memory share used up"),
            Self::RequestTimeout => ("request-timeout", StatusCode::REQUEST_TIMEOUT, "Request timeout"),
            Self::Draining => ("draining", StatusCode::SERVICE_UNAVAILABLE, "Node shutting down"),
            Self::Gone => ("gone", StatusCode::GONE, "No longer there"),
            Self::StreamExists => {
                ("stream-exists", StatusCode::CONFLICT, "Stream exists with other settings")
            }
            Self::StreamClosed => ("stream-closed", StatusCode::CONFLICT, "Stream has ended"),
            Self::StreamConflict => {
                ("stream-conflict", StatusCode::CONFLICT, "Conflict with the state of the stream")
            }
            Self::ProducerGap => {
                ("producer-gap", StatusCode::CONFLICT, "Appends of the producer are missing")
            }
            Self::StaleProducer => ("stale-producer", StatusCode::FORBIDDEN, "Producer started again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_its_members_in_order_and_displays_as_one_line() {
        let problem = ProblemDetails::new(Code::BadCursor, "it is damaged".into());
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"type":"/v1/problems#bad-cursor","code":"bad-cursor","title":"Invalid cursor","status":400,"#,
                r#""detail":"it is damaged"}"#
            )
        );
        assert_eq!(serde_json::from_str::<ProblemDetails>(&text).unwrap(), problem);
        assert_eq!(problem.to_string(), "Invalid cursor: it is damaged");
    }

    #[test]
    fn every_code_is_listed_in_order() {
        for (place, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place, "a variant is missing in Code::ALL");
        }
        assert_eq!(Code::ALL.last(), Some(&Code::StaleProducer), "the last variant");
    }
}
