//! The one place where errors become answers: `application/problem+json` (RFC 9457).
//!
//! Internal text never reaches a client: it is logged where it is handled.

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

/// Where the kinds of problems are listed: with `#` and the code, the `type` of a problem (RFC 9457, section 3.1.1).
pub const TYPES_PATH: &str = "/v1/problems";

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What kind of problem it is. Public: part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A parameter, header or path that cannot be meant.
    BadRequest,
    /// A cursor that cannot be read.
    BadCursor,
    /// A name that is no channel's.
    BadChannel,
    /// An event that cannot be published.
    BadEvent,
    /// A body that is not the JSON meant.
    BadJson,
    /// No token.
    NoToken,
    /// A token that is not accepted.
    BadToken,
    /// A token whose time has run out.
    ExpiredToken,
    /// Not allowed for this bearer.
    NoGrant,
    /// A page of another origin, with rights that its visitor's browser added.
    ForeignOrigin,
    /// Nothing there.
    NotFound,
    /// A host that this node does not answer for.
    Misdirected,
    /// Something there, but not for this method.
    MethodNotAllowed,
    /// The broker will not do it until somebody mends it.
    Refused,
    /// More than a limit allows.
    TooLarge,
    /// A head that leaves too little room, or has more bytes than a limit allows.
    HeadTooLarge,
    /// A body of another type.
    MediaType,
    /// A body that is compressed or otherwise coded.
    ContentCoding,
    /// An expectation that cannot be met.
    Expectation,
    /// A condition that is not true.
    Precondition,
    /// A method or transfer coding that is not known.
    NotImplemented,
    /// The user has as many sessions as allowed.
    UserSessions,
    /// The user or the address has used up a rate.
    RateLimited,
    /// The user has as many calls under way that read logs as allowed.
    UserReads,
    /// Our mistake.
    Internal,
    /// Our mistake, and another node may do better.
    InternalHere,
    /// The broker is away, or refuses everything of this kind.
    Unavailable,
    /// The node has as many streams as allowed.
    Overloaded,
    /// The node has no room for more bytes.
    Busy,
    /// A client holds as much of the node's memory as one may.
    ShareUsed,
    /// A request that came too slowly.
    RequestTimeout,
    /// The node is leaving.
    Draining,
}

impl Code {
    /// Every kind of problem, in the order of the variants.
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

    /// The word that clients tell problems apart by.
    pub fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.parts().1
    }

    /// The summary for people, the same for every problem of the kind.
    pub fn title(self) -> &'static str {
        self.parts().2
    }

    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::BadRequest => ("bad-request", StatusCode::BAD_REQUEST, "The request cannot be understood"),
            Self::BadCursor => ("bad-cursor", StatusCode::BAD_REQUEST, "The cursor cannot be read"),
            Self::BadChannel => ("bad-channel", StatusCode::BAD_REQUEST, "That is not a channel"),
            Self::BadEvent => ("bad-event", StatusCode::BAD_REQUEST, "The event cannot be published"),
            Self::BadJson => ("bad-json", StatusCode::BAD_REQUEST, "The body is not the JSON expected"),
            Self::NoToken => ("no-token", StatusCode::UNAUTHORIZED, "A token is needed"),
            Self::BadToken => ("bad-token", StatusCode::UNAUTHORIZED, "The token is not accepted"),
            Self::ExpiredToken => ("expired-token", StatusCode::UNAUTHORIZED, "The token has expired"),
            Self::NoGrant => ("no-grant", StatusCode::FORBIDDEN, "The token does not allow this"),
            Self::ForeignOrigin => {
                ("foreign-origin", StatusCode::FORBIDDEN, "Pages of this origin may not do this")
            }
            Self::Misdirected => {
                ("misdirected", StatusCode::MISDIRECTED_REQUEST, "This server does not answer to that name")
            }
            Self::NotFound => ("not-found", StatusCode::NOT_FOUND, "There is nothing here"),
            Self::MethodNotAllowed => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed here")
            }
            Self::Refused => ("refused", StatusCode::CONFLICT, "Redis refuses this"),
            Self::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "That is too large"),
            Self::HeadTooLarge => (
                "head-too-large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request's head is too large",
            ),
            Self::MediaType => ("media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be JSON"),
            Self::ContentCoding => {
                ("content-coding", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must not be coded")
            }
            Self::Expectation => {
                ("expectation", StatusCode::EXPECTATION_FAILED, "The expectation cannot be met")
            }
            Self::Precondition => {
                ("precondition", StatusCode::PRECONDITION_FAILED, "The condition is not true")
            }
            Self::NotImplemented => {
                ("not-implemented", StatusCode::NOT_IMPLEMENTED, "This server does not know that")
            }
            Self::UserSessions => {
                ("user-sessions", StatusCode::TOO_MANY_REQUESTS, "The user has too many sessions")
            }
            Self::RateLimited => ("rate-limited", StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Self::UserReads => {
                ("user-reads", StatusCode::TOO_MANY_REQUESTS, "The user reads too much at once")
            }
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something broke on our side"),
            Self::InternalHere => {
                ("internal", StatusCode::SERVICE_UNAVAILABLE, "Something broke on our side")
            }
            Self::Unavailable => {
                ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Redis cannot serve this now")
            }
            Self::Overloaded => {
                ("overloaded", StatusCode::SERVICE_UNAVAILABLE, "This node has as much to do as it takes")
            }
            Self::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "This node has no room for this now"),
            Self::ShareUsed => {
                ("share-used", StatusCode::TOO_MANY_REQUESTS, "The client has as much in hand as one may")
            }
            Self::RequestTimeout => {
                ("request-timeout", StatusCode::REQUEST_TIMEOUT, "The request came too slowly")
            }
            Self::Draining => ("draining", StatusCode::SERVICE_UNAVAILABLE, "This node is leaving"),
        }
    }
}

/// A request, or an item of a batch, that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What is wrong with this one, for people.
    pub detail: String,
    /// After how many seconds trying again makes sense.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after = (code.status() == StatusCode::SERVICE_UNAVAILABLE).then(|| fastrand::u64(1..=3));
        Self { code, detail: detail.into(), retry_after }
    }

    /// The request cannot be understood.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// The bearer may not do this.
    pub fn no_grant(detail: impl Into<String>) -> Self {
        Self::new(Code::NoGrant, detail)
    }

    /// For another time to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The body.
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

    /// RFC 6750, section 3.
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
        // For whoever counts.
        response.extensions_mut().insert(self.code);
        response
    }
}

impl From<NoRoom> for Problem {
    fn from(NoRoom { scope, .. }: NoRoom) -> Self {
        match scope {
            Scope::Node => {
                Self::new(Code::Busy, "this node holds as many bytes for clients as it may (limits.memory)")
            }
            Scope::Address => Self::new(
                Code::ShareUsed,
                "the connections from this address hold a quarter of limits.memory, which is as much as they may",
            )
            .retry_after(1),
            Scope::Connection => Self::new(
                Code::ShareUsed,
                "this connection holds an eighth of limits.memory, which is as much as it may",
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
            // That the broker is away is logged by who watches it, once, and not by each request.
            BrokerError::Unavailable(why) => {
                tracing::debug!(%why, "a request failed because the broker is away");
                let detail = "Redis does not answer now. It is not known whether this was carried out: try again, \
                              and publish with a key so that an event is stored once";
                Self::new(Code::Unavailable, detail)
            }
            // Redis's own words stay in the log.
            BrokerError::Condition { condition, detail } => {
                static LOG: Throttle = Throttle::of_a_condition();
                if let Some(held_back) = LOG.admit() {
                    tracing::warn!(%condition, detail, held_back, "Redis refuses requests");
                }
                if condition.ends_by_itself() {
                    return Self::new(
                        Code::Unavailable,
                        format!("{condition}. This was not carried out: try again"),
                    );
                }
                let detail = format!("{condition}. This was not carried out, and an operator must act first");
                Self { retry_after: None, ..Self::new(Code::Unavailable, detail) }
            }
            BrokerError::Refused(why) => {
                static LOG: Throttle = Throttle::of_events();
                if let Some(held_back) = LOG.admit() {
                    tracing::warn!(%why, held_back, "Redis refused a request");
                }
                let detail = "Redis refuses this until somebody mends it: most likely a key has another type than it \
                              should. The node's log says more";
                Self::new(Code::Refused, detail)
            }
        }
    }
}

/// The answer to a request whose handler panicked. The panic itself was told on stderr by the panic hook.
#[allow(clippy::needless_pass_by_value)] // That is how the layer hands it over.
pub fn of_panic(panic: Box<dyn Any + Send>) -> Response {
    log_panic(&*panic);
    Problem::new(Code::Internal, "the node's log says more").into_response()
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
        assert!(full.detail.starts_with("Redis is out of memory. This was not carried out"), "{full:?}");
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
