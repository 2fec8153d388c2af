//! Maps errors to HTTP responses: `application/problem+json` (RFC 9457). The only place that does.
//!
//! Internal text never reaches a client: errors are logged where they are handled.

use std::any::Any;

use axum::Json;
use axum::response::{IntoResponse, Response};
pub use fanfare_api::problem::Code;
use fanfare_api::problem::{MEDIA_TYPE, ProblemDetails};
use fanfare_auth::TokenError;
use fanfare_broker::BrokerError;
use fanfare_coordination::revocations::stream_token::ReplaceError;
use fanfare_coordination::revocations::{RevokeError, TokenRefusal};
use fanfare_protocol::channel::ChannelError;
use fanfare_protocol::cursor::CursorError;
use fanfare_protocol::event::EventError;
use fanfare_protocol::publish::{BodyError, PublicationError};
use fanfare_telemetry::Throttle;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::audit::Why;
use crate::auth::AuthError;
use crate::auth::tickets::IssueError;
use crate::memory::{NoRoom, Scope};
use crate::rates::RateLimited;

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

    /// Names the item of a batch, from 0.
    #[must_use]
    pub fn of_item(mut self, index: usize) -> Self {
        self.detail = format!("item {index}: {}", self.detail);
        self
    }

    /// Names the channel of an event for several: its index in the request, from 0.
    #[must_use]
    pub fn of_channel(mut self, index: usize) -> Self {
        self.detail = format!("channels[{index}]: {}", self.detail);
        self
    }

    /// Returns the body.
    pub fn details(&self) -> ProblemDetails {
        ProblemDetails::new(self.code, self.detail.clone())
    }

    /// Returns the value of `WWW-Authenticate` (RFC 6750, section 3).
    fn challenge(&self) -> Option<String> {
        let error = match self.code {
            Code::NoToken | Code::Unauthenticated => return Some(r#"Bearer realm="fanfare""#.to_owned()),
            Code::BadToken | Code::BadTicket | Code::UsedTicket => "invalid_token",
            Code::ExpiredToken => r#"invalid_token", error_description="the token has expired"#,
            Code::RevokedToken => r#"invalid_token", error_description="the token has been revoked"#,
            Code::NoGrant => "insufficient_scope",
            _ => return None,
        };
        Some(format!(r#"Bearer realm="fanfare", error="{error}""#))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(self.details())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
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
        // Read by the layer that counts problems, and writes the audit log.
        response.extensions_mut().insert(self.code);
        if let Some(why) = Why::of(self.code, &self.detail) {
            response.extensions_mut().insert(why);
        }
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
                "the connections of this address use a quarter of the memory for clients (limits.memory), which is the maximum for one address",
            )
            .retry_after(1),
            Scope::Connection => Self::new(
                Code::ShareUsed,
                "this connection uses an eighth of the memory for clients (limits.memory), which is the maximum for one connection",
            )
            .retry_after(1),
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let code = match error {
            AuthError::Limited(limited) => return limited.into(),
            AuthError::NoToken | AuthError::NoCredentials => Code::NoToken,
            AuthError::Token(TokenError::Invalid(_)) | AuthError::Key(_) => Code::BadToken,
            AuthError::Token(TokenError::Expired { .. }) => Code::ExpiredToken,
            AuthError::Token(TokenError::NoKeys)
            | AuthError::NoAnswer
            | AuthError::Refused(TokenRefusal::NotLoaded) => Code::Unavailable,
            AuthError::Unknown => Code::Unauthenticated,
            AuthError::Forbidden => Code::NoGrant,
            AuthError::Refused(TokenRefusal::Revoked) => Code::RevokedToken,
            AuthError::BadUser(_) => Code::BadRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl From<IssueError> for Problem {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::NoUser | IssueError::TooLong => Self::bad_request(error.to_string()),
            IssueError::NotGranted(_) => Self::no_grant(error.to_string()),
            IssueError::Full(_, life) => {
                Self::new(Code::UserTickets, error.to_string()).retry_after(life.as_secs().max(1))
            }
            IssueError::NoRandom => Self::new(Code::InternalHere, error.to_string()),
            IssueError::Broker(error) => error.into(),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Full(_) => Self::new(Code::RevocationsFull, error.to_string()),
            RevokeError::Broker(error) => error.into(),
        }
    }
}

impl From<ReplaceError> for Problem {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::NoSession(_) => Self::new(Code::NotFound, error.to_string()),
            ReplaceError::TooLong => Self::bad_request(format!("{error}; reconnect with the new token")),
            ReplaceError::Broker(error) => error.into(),
        }
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
            PublicationError::Internal => Code::NoGrant,
            PublicationError::Channel(_)
            | PublicationError::ChannelAt { .. }
            | PublicationError::RepeatedChannel(_)
            | PublicationError::NoChannel => Code::BadChannel,
            PublicationError::Event(EventError::DataTooLong { .. }) => Code::TooLarge,
            _ => Code::BadEvent,
        };
        Self::new(code, error.to_string())
    }
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        log_broker_error(&error);
        match error {
            BrokerError::Unavailable(_) => {
                let detail = "Redis does not answer. The request may have been carried out or not: retry, and publish \
                              with an idempotency key so that an event is stored once";
                Self::new(Code::Unavailable, detail)
            }
            // The error text of Redis goes to the log only.
            BrokerError::Condition { condition, .. } => {
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
            BrokerError::Refused(_) => {
                let detail = "Redis refuses this request until an operator fixes the cause, most likely a key of a wrong \
                              type; see the node's log";
                Self::new(Code::Refused, detail)
            }
        }
    }
}

/// Logs why the broker did not carry out a request, with what Redis said.
pub(super) fn log_broker_error(error: &BrokerError) {
    match error {
        // The subscriber connection logs an outage of the broker once; requests do not log it again.
        BrokerError::Unavailable(why) => tracing::debug!(%why, "request failed: broker unavailable"),
        BrokerError::Condition { condition, detail } => {
            static LOG: Throttle = Throttle::of_a_condition();
            if let Some(held_back) = LOG.admit() {
                tracing::warn!(%condition, detail, held_back, "Redis refuses requests");
            }
        }
        BrokerError::Refused(why) => {
            static LOG: Throttle = Throttle::of_events();
            if let Some(held_back) = LOG.admit() {
                tracing::warn!(%why, held_back, "Redis refused a request");
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
        let expired = Problem::new(Code::ExpiredToken, "expired").into_response();
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
            assert!(!Problem::from(error).detail.contains("10.0.0.1"));
        }
    }
}
