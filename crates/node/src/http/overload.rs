//! The response to a stream that cannot be served now.
//!
//! A native `EventSource` ends permanently on any status except 200, so it gets 200, a `retry:` with jitter, one
//! event and the end. A client that sends `Prefer: status` (RFC 7240) gets the status.

use axum::response::{IntoResponse, Response};
use fanfare_auth::TokenError;
use fanfare_broker::{BrokerError, Outage};
use fanfare_config::limits::LimitsConfig;
use fanfare_coordination::revocations::TokenRefusal;
use fanfare_hub::dialect::Dialect;
use fanfare_hub::retry::RetryPolicy;
use http::HeaderMap;
use http::header::HeaderName;

use super::problem::{self, Code, Problem};
use super::stream_headers;
use crate::auth::AuthError;
use crate::auth::tickets::TicketError;
use crate::rates::{RateLimited, Scope};

/// `Prefer`, which the crate `http` does not define.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Why a stream cannot be served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The node has reached `limits.connections`.
    Connections,
    /// The node has reached `limits.connects_per_second`.
    Rate,
    /// The user or the address exceeds a rate.
    Limited(RateLimited),
    /// The user has reached `limits.sessions_per_user`.
    UserSessions,
    /// The node or the client's address has used up its share of `limits.memory`.
    Memory,
    /// The broker does not carry out what a stream needs.
    Unavailable(Outage),
    /// The node does not hold its lease.
    NoLease,
    /// The keys that verify the token cannot be fetched.
    NoKeys,
    /// The application gave no usable answer.
    NoAnswer,
    /// The node has not read the revocations of tokens yet.
    NoRevocations,
    /// The node is draining.
    Draining,
    /// Internal error.
    Internal,
}

/// Why no stream is opened.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be served now: the client should retry.
    Later(Reason),
    /// The request is refused: a retry is useless.
    Final(Problem),
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Later(reason)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Final(problem)
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        // The application gives no answer now, or the client asks too often.
        Self::Later(match error {
            AuthError::Limited(limited) => Reason::Limited(limited),
            AuthError::NoAnswer => Reason::NoAnswer,
            AuthError::Refused(TokenRefusal::NotLoaded) => Reason::NoRevocations,
            AuthError::Token(TokenError::NoKeys) => Reason::NoKeys,
            error => return Self::Final(error.into()),
        })
    }
}

impl From<TicketError> for Refusal {
    fn from(error: TicketError) -> Self {
        let code = match &error {
            TicketError::Unknown => Code::BadTicket,
            TicketError::Used | TicketError::OtherSession => Code::UsedTicket,
            TicketError::Broker(error) => return Self::Later(Reason::of_broker(error)),
        };
        Self::Final(Problem::new(code, error.to_string()))
    }
}

impl Reason {
    /// Logs why the broker does not serve a stream, and returns the reason for the client.
    pub fn of_broker(error: &BrokerError) -> Self {
        problem::log_broker_error(error);
        Self::Unavailable(error.outage())
    }

    /// Names of all reasons.
    pub const WORDS: [&str; 9] = [
        "connections",
        "rate",
        "user-rate",
        "address-rate",
        "user-sessions",
        "memory",
        "unavailable",
        "draining",
        "internal",
    ];

    /// Returns the name in the event and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Rate => "rate",
            Self::Limited(RateLimited { scope: Scope::User | Scope::Key, .. }) => "user-rate",
            Self::Limited(RateLimited { scope: Scope::Address, .. }) => "address-rate",
            Self::UserSessions => "user-sessions",
            Self::Memory => "memory",
            Self::Unavailable(_) | Self::NoLease | Self::NoKeys | Self::NoAnswer | Self::NoRevocations => {
                "unavailable"
            }
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }

    fn problem(self, limits: &LimitsConfig) -> Problem {
        let LimitsConfig { connections, connects_per_second, sessions_per_user, .. } = limits;
        match self {
            Self::Connections => {
                let detail =
                    format!("this node has {connections} streams, which is the limit (limits.connections)");
                Problem::new(Code::Overloaded, detail)
            }
            Self::Rate => {
                let detail = format!(
                    "more than {connects_per_second} new streams per second (limits.connects_per_second)"
                );
                Problem::new(Code::Overloaded, detail)
            }
            Self::Limited(limited) => limited.into(),
            Self::UserSessions => {
                let detail = format!(
                    "the user has {sessions_per_user} sessions, which is the limit (limits.sessions_per_user)"
                );
                Problem::new(Code::UserSessions, detail)
            }
            Self::Memory => Problem::new(Code::Busy, "no memory left for more requests (limits.memory)"),
            Self::Unavailable(outage) => {
                let next =
                    if outage.ends_by_itself() { ": retry" } else { "; an operator must fix this first" };
                Problem::new(Code::Unavailable, format!("{outage}. No stream was opened{next}"))
            }
            Self::NoLease => Problem::new(
                Code::Unavailable,
                "this node does not hold its lease. No stream was opened: retry; another node may answer",
            ),
            Self::NoAnswer => Problem::from(AuthError::NoAnswer),
            Self::NoKeys => Problem::from(AuthError::from(TokenError::NoKeys)),
            Self::NoRevocations => Problem::from(AuthError::Refused(TokenRefusal::NotLoaded)),
            Self::Draining => {
                Problem::new(Code::Draining, "this node is shutting down; another node will answer")
            }
            // A load balancer tries another node on 503.
            Self::Internal => Problem::new(Code::InternalHere, "internal error; see the node's log"),
        }
    }
}

/// A request whose stream is refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Dialect of the stream.
    pub dialect: Dialect,
    /// The cursor that the client sent, which it keeps.
    pub cursor: Option<&'a str>,
    /// Whether the client prefers a status: the result of [`prefers_status`].
    pub status: bool,
}

/// Returns the response to a refused request. A client of a draining node reconnects soon, since other nodes work.
pub fn answer(
    reason: Reason,
    Refused { dialect, cursor, status }: Refused<'_>,
    limits: &LimitsConfig,
    retry: &RetryPolicy,
) -> Response {
    let retry = if reason == Reason::Draining { retry.planned_ms() } else { retry.long_ms() };
    if status {
        return reason.problem(limits).retry_after(retry.div_ceil(1000)).into_response();
    }
    (stream_headers(), dialect.refusal(reason.as_str(), cursor, retry)).into_response()
}

/// Returns whether the request has `Prefer: status`.
pub fn prefers_status(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|line| line.split(',')).any(|preference| {
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("status")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::to_bytes;
    use fanfare_broker::Condition;
    use fanfare_hub::retry::RetrySettings;

    use super::*;

    fn retry() -> RetryPolicy {
        RetryPolicy::new(RetrySettings {
            least: Duration::from_secs(3),
            spread: Duration::from_secs(1),
            planned_spread: Duration::from_millis(400),
        })
    }

    fn refused(cursor: Option<&str>, status: bool) -> Refused<'_> {
        Refused { dialect: Dialect::default(), cursor, status }
    }

    #[tokio::test]
    async fn an_event_source_is_asked_to_come_back_and_soon_if_another_node_can_take_it() {
        for (reason, waits) in
            [(Reason::Unavailable(Outage::NoAnswer), 3000..=5000), (Reason::Draining, 100..=500)]
        {
            let response = answer(reason, refused(None, false), &LimitsConfig::default(), &retry());
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "text/event-stream");
            let body = to_bytes(response.into_body(), 1000).await.unwrap();
            let body = std::str::from_utf8(&body).unwrap();
            let (retry, rest) = body.split_once('\n').unwrap();
            assert!(
                waits.contains(&retry.strip_prefix("retry: ").unwrap().parse::<u32>().unwrap()),
                "{retry}"
            );
            let reason = reason.as_str();
            assert_eq!(rest, format!("event: overloaded\ndata: {{\"reason\":\"{reason}\"}}\n\n"));
        }
    }

    #[tokio::test]
    async fn an_event_source_keeps_the_cursor_that_it_came_with() {
        let asked = refused(Some("aBxhY2Rl"), false);
        let response = answer(Reason::Rate, asked, &LimitsConfig::default(), &retry());
        let body = to_bytes(response.into_body(), 1000).await.unwrap();
        assert!(body.starts_with(b"id: aBxhY2Rl\nretry: "), "{body:?}");
    }

    #[test]
    fn who_prefers_a_status_gets_one() {
        for (prefer, reason, status) in [
            ("status", Reason::Connections, 503),
            ("respond-async, Status; x=1", Reason::UserSessions, 429),
            ("status", Reason::Unavailable(Outage::NoAnswer), 503),
            ("status", Reason::Unavailable(Outage::Condition(Condition::NoPermission)), 503),
            ("return=status", Reason::Unavailable(Outage::NoAnswer), 200),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, prefer.parse().unwrap());
            let asked = refused(Some("5-1"), prefers_status(&headers));
            let response = answer(reason, asked, &LimitsConfig::default(), &retry());
            assert_eq!(response.status(), status, "{prefer}");
            assert_eq!(response.headers().contains_key("retry-after"), status != 200);
        }
    }

    #[test]
    fn a_refused_stream_names_the_condition_of_redis() {
        let detail = |outage| Reason::Unavailable(outage).problem(&LimitsConfig::default()).detail;
        for (outage, words) in [
            (Outage::NoAnswer, "Redis does not answer. No stream was opened: retry"),
            (
                Outage::Condition(Condition::OutOfMemory),
                "Redis is out of memory. No stream was opened: retry",
            ),
            (
                Outage::Condition(Condition::NoPermission),
                "the Redis user of redis.url lacks permissions that a node needs. No stream was opened; an operator must fix this first",
            ),
            (
                Outage::Refused,
                "Redis refuses the node's commands; see the node's log. No stream was opened; an operator must fix this first",
            ),
        ] {
            assert_eq!(detail(outage), words);
        }
    }
}
