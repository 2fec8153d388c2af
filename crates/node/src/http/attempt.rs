//! A request for a stream, until it has an outcome.

use http::{Method, StatusCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::time::Instant;

use super::overload::{Reason, Refusal};

/// Counts a request for a stream by its outcome in `sse_connect_attempts_total`. A request that is dropped without another
/// outcome was abandoned: its client closed the connection before.
#[derive(Debug)]
pub struct Attempt {
    attempts: Attempts,
    begun: Instant,
    /// `None` if the request is not counted.
    outcome: Option<Outcome>,
}

/// `sse_connect_attempts_total` by outcome.
pub type Attempts = Family<[(&'static str, &'static str); 1], Counter>;

/// What a request for a stream led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The hub has the stream.
    Opened,
    /// The node could not serve it: a limit of the node, Redis, the keys of tokens, or an error.
    Refused,
    /// A limit of the user or of the address refused it.
    Limited,
    /// The node is draining.
    Draining,
    /// The token is missing, wrong, or does not permit it.
    Unauthorized,
    /// The request is malformed.
    Invalid,
    /// The client closed the connection before.
    Abandoned,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 7] = [
        Self::Opened,
        Self::Refused,
        Self::Limited,
        Self::Draining,
        Self::Unauthorized,
        Self::Invalid,
        Self::Abandoned,
    ];

    /// Returns the name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Draining => "draining",
            Self::Unauthorized => "unauthorized",
            Self::Invalid => "invalid",
            Self::Abandoned => "abandoned",
        }
    }
}

impl From<&Refusal> for Outcome {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Later(Reason::Draining) => Self::Draining,
            Refusal::Later(Reason::Limited(_) | Reason::UserSessions) => Self::Limited,
            Refusal::Later(_) => Self::Refused,
            Refusal::Final(problem) => match problem.code.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Unauthorized,
                status if status.is_server_error() => Self::Refused,
                _ => Self::Invalid,
            },
        }
    }
}

impl Attempt {
    /// Begins a request. `HEAD`, which asks for no stream, is not counted.
    pub fn new(attempts: Attempts, method: &Method) -> Self {
        let outcome = (method != Method::HEAD).then_some(Outcome::Abandoned);
        Self { attempts, begun: Instant::now(), outcome }
    }

    /// Returns when the request began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Ends the attempt with an outcome.
    pub fn end(mut self, outcome: impl Into<Outcome>) {
        self.outcome = self.outcome.and(Some(outcome.into()));
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            self.attempts.get_or_create(&[("outcome", outcome.as_str())]).inc();
        }
    }
}
