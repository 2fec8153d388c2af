//! Maps errors to HTTP responses: `application/problem+json` (RFC 9457). The only place that does.
//!
//! Internal text never reaches a client: errors are logged where they are handled.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use fanfare_broker::BrokerError;
use fanfare_protocol::channel::ChannelError;
use fanfare_protocol::cursor::CursorError;
use fanfare_protocol::event::EventError;
use fanfare_protocol::publish::{BodyError, PublicationError};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::auth::AuthError;
use crate::memory::{NoRoom, Scope};
use crate::rates::RateLimited;
use crate::throttle::Throttle;

/// Path of the page that lists the problem types: with `#` and the code, the `type` of a problem (RFC 9457, section
/// 3.1.1).
pub const TYPES_PATH: &str = "/v1/problems";

/// Media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

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
    /// The user has reached the session limit.
    UserSessions,
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
}

impl Code {
    /// All kinds, in the order of the variants.
    pub const ALL: [Self; 32] = [
        Self::BadRequest,
        Self::BadCursor,
        Self::BadChannel,
        Self::BadEvent,
        Self::BadJson,
        Self::NoToken,
        Self::BadToken,
        Self::ExpiredToken,
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
        Self::UserSessions,
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
            Self::UserSessions => {
                ("user-sessions", StatusCode::TOO_MANY_REQUESTS, "Too many sessions of the user")
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
        }
    }
}

/// Error response to a request, or to an item of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Kind of the problem.
    pub code: Code,
    /// Human-readable explanation of this occurrence.
    pub detail: String,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// Creates a problem. A problem with status 503 has a random `Retry-After`.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = (code.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| fastrand::u64(1..=3));
        Self { code, detail: detail.into(), retry_after }
    }

    /// Creates a [`Code::BadRequest`] problem.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// Creates a [`Code::NoGrant`] problem.
    pub fn no_grant(detail: impl Into<String>) -> Self {
        Self::new(Code::NoGrant, detail)
    }

    /// Sets `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Returns the body.
    pub fn to_json(&self) -> Value {
        let (code, status, title) = self.code.parts();
        json!({
            "type": format!("{TYPES_PATH}#{code}"),
            "code": code,
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
        })
    }

    /// Returns the value of `WWW-Authenticate` (RFC 6750, section 3).
    fn challenge(&self) -> Option<String> {
        let error = match self.code {
            Code::NoToken => return Some(r#"Bearer realm="fanfare""#.to_owned()),
            Code::BadToken => "invalid_token",
            Code::ExpiredToken => r#"invalid_token", error_description="the token has expired"#,
            Code::NoGrant => "insufficient_scope",
            _ => return None,
        };
        Some(format!(r#"Bearer realm="fanfare", error="{error}""#))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), self.to_json().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.code == Code::ContentCoding {
            // RFC 9110, section 15.5.16.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(challenge) = self.challenge().and_then(|text| text.parse().ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        // Read by the layer that counts problems.
        response.extensions_mut().insert(self.code);
        response
    }
}

impl From<NoRoom> for Problem {
    fn from(NoRoom { scope, .. }: NoRoom) -> Self {
        match scope {
            Scope::Node => {
                Self::new(Code::Busy, "the requests and streams of this node use up limits.memory")
            }
            Scope::Address => Self::new(
                Code::ShareUsed,
                "the connections of this address use a quarter of limits.memory, which is the maximum for one address",
            )
            .retry_after(1),
            Scope::Connection => Self::new(
                Code::ShareUsed,
                "this connection uses an eighth of limits.memory, which is the maximum for one connection",
            )
            .retry_after(1),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = match error {
            AuthError::NoToken => Code::NoToken,
            AuthError::BadToken(_) => Code::BadToken,
            AuthError::Expired => Code::ExpiredToken,
            AuthError::BadUser(_) => Code::BadRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RateLimited> for Problem {
    fn from(limited: RateLimited) -> Self {
        Self::new(Code::RateLimited, limited.detail()).retry_after(limited.retry_after())
    }
}

impl From<ChannelError> for Problem {
    fn from(error: ChannelError) -> Self {
        Self::new(Code::BadChannel, error.to_string())
    }
}

impl From<CursorError> for Problem {
    fn from(error: CursorError) -> Self {
        Self::new(Code::BadCursor, error.to_string())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let code = match error {
            BodyError::Encoding(_) | BodyError::Json(_) => Code::BadJson,
            BodyError::TooMany { .. } => Code::TooLarge,
        };
        Self::new(code, error.to_string())
    }
}

impl From<PublicationError> for Problem {
    fn from(error: PublicationError) -> Self {
        let code = match &error {
            PublicationError::Json(_) => Code::BadJson,
            PublicationError::Channel(_) => Code::BadChannel,
            PublicationError::Event(EventError::DataTooLong { .. }) => Code::TooLarge,
            _ => Code::BadEvent,
        };
        Self::new(code, error.to_string())
    }
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        match error {
            // The subscriber connection logs an outage of the broker once; requests do not log it again.
            BrokerError::Unavailable(why) => {
                tracing::debug!(%why, "request failed: broker unavailable");
                let detail = "Redis does not answer. The request may have been carried out or not: retry, and publish \
                              with an idempotency key so that an event is stored once";
                Self::new(Code::Unavailable, detail)
            }
            // The error text of Redis goes to the log only.
            BrokerError::Condition { condition, detail } => {
                static LOG: Throttle = Throttle::of_a_condition();
                if let Some(held_back) = LOG.admit() {
                    tracing::warn!(%condition, detail, held_back, "Redis refuses requests");
                }
                if condition.ends_by_itself() {
                    return Self::new(
                        Code::Unavailable,
                        format!("{condition}. The request was not carried out: retry"),
                    );
                }
                let detail =
                    format!("{condition}. The request was not carried out; an operator must fix this first");
                Self { retry_after: None, ..Self::new(Code::Unavailable, detail) }
            }
            BrokerError::Refused(why) => {
                static LOG: Throttle = Throttle::of_events();
                if let Some(held_back) = LOG.admit() {
                    tracing::warn!(%why, held_back, "Redis refused a request");
                }
                let detail = "Redis refuses this request until an operator fixes the cause, most likely a key of a wrong \
                              type; see the node's log";
                Self::new(Code::Refused, detail)
            }
        }
    }
}

/// Returns the response to a request whose handler panicked. The panic hook has written the panic to stderr.
#[allow(clippy::needless_pass_by_value)] // The signature that the layer requires.
pub fn of_panic(panic: Box<dyn Any + Send>) -> Response {
    log_panic(&*panic);
    Problem::new(Code::Internal, "internal error; see the node's log").into_response()
}

/// Logs that a handler panicked.
pub(super) fn log_panic(panic: &(dyn Any + Send)) {
    static LOG: Throttle = Throttle::of_events();
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    if let Some(held_back) = LOG.admit() {
        tracing::error!(message, held_back, "a request handler panicked");
    }
}

#[cfg(test)]
mod tests {
    use fanfare_broker::Condition;

    use super::*;

    #[test]
    fn a_problem_says_when_to_try_again_and_how_to_get_in() {
        let response = Problem::from(BrokerError::Unavailable("10.0.0.1: timeout".into())).into_response();
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key(RETRY_AFTER));
        let expired = Problem::from(AuthError::Expired).into_response();
        let challenge = expired.headers()[WWW_AUTHENTICATE].to_str().unwrap();
        assert_eq!(
            challenge,
            r#"Bearer realm="fanfare", error="invalid_token", error_description="the token has expired""#
        );
    }

    #[test]
    fn a_redis_that_refuses_is_not_said_to_be_away() {
        let problem =
            |condition| Problem::from(BrokerError::Condition { condition, detail: "10.0.0.1".into() });
        let full = problem(Condition::OutOfMemory);
        assert!(
            full.detail.starts_with("Redis is out of memory. The request was not carried out"),
            "{full:?}"
        );
        assert!(full.retry_after.is_some());
        let locked = problem(Condition::NotAuthenticated);
        assert_eq!((locked.code.status().as_u16(), locked.retry_after), (503, None));
    }

    #[test]
    fn internal_text_stays_inside() {
        for error in [
            BrokerError::Unavailable("10.0.0.1".into()),
            BrokerError::Refused("10.0.0.1".into()),
            BrokerError::Condition { condition: Condition::CannotSave, detail: "10.0.0.1".into() },
        ] {
            assert!(!Problem::from(error).to_json().to_string().contains("10.0.0.1"));
        }
    }
}
