//! State shared by all endpoints.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::PathRejection;
use fanfare_auth::TokenError;
use fanfare_broker::{Broker, NodeId, RetentionRules};
use fanfare_config::ack::AckConfig;
use fanfare_config::bytes;
use fanfare_config::http::HttpConfig;
use fanfare_config::limits::LimitsConfig;
use fanfare_config::presence::PresenceChannels;
use fanfare_coordination::revocations::stream_token::StreamTokens;
use fanfare_coordination::revocations::{Revocations, TokenRefusal};
use fanfare_coordination::session::Sessions;
use fanfare_hub::read_budget::ReadBudget;
use fanfare_hub::retry::RetryPolicy;
use fanfare_protocol::SessionId;
use fanfare_telemetry::traces::Tracer;
use http::HeaderMap;

use super::counts::Counts;
use super::ignored::Ignored;
use super::metrics::HttpMetrics;
use super::origin;
use super::overload::{Reason, Refusal};
use super::params::Params;
use super::places::Places;
use super::problem::Problem;
use super::readiness::Readiness;
use crate::address::ClientAddress;
use crate::address::trusted::TrustedProxies;
use crate::audit::{Audit, trail};
use crate::auth::tickets::{Presented, Tickets};
use crate::auth::{Asked, Auth, AuthError, Bearer, Carrier};
use crate::finite::Finite;
use crate::memory::Memory;
use crate::rates::{Caller, Kind, Rates};

/// State shared by all endpoints. Lives as long as the node.
pub struct App {
    /// The node id.
    pub node: NodeId,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Memory limit.
    pub memory: Memory,
    /// Budget of concurrent log reads.
    pub budget: Arc<ReadBudget>,
    /// Concurrency limit of history calls.
    pub histories: Arc<Places>,
    /// Sessions of this node.
    pub sessions: Sessions,
    /// Authentication.
    pub auth: Auth,
    /// Revoked tokens.
    pub revocations: Revocations,
    /// Tokens of open streams.
    pub tokens: StreamTokens,
    /// Tickets.
    pub tickets: Tickets,
    /// Limits of requests.
    pub limits: LimitsConfig,
    /// Rate limits of users and addresses.
    pub rates: Arc<Rates>,
    /// Trusted proxies.
    pub proxies: TrustedProxies,
    /// Reconnection times of refused streams.
    pub retry: RetryPolicy,
    /// Whether streams are compressed for clients that accept it.
    pub gzip: bool,
    /// Settings of HTTP.
    pub http: HttpConfig,
    /// Settings of acknowledged cursors.
    pub ack: AckConfig,
    /// Channels whose presence is recorded.
    pub presence: PresenceChannels,
    /// Retention of channels.
    pub retention: RetentionRules,
    /// Finite streams.
    pub finite: Finite,
    /// Readiness of the node.
    pub readiness: Readiness,
    /// Ignored parameters.
    pub ignored: Ignored,
    /// The audit log.
    pub audit: Arc<Audit>,
    /// Metrics of HTTP.
    pub metrics: HttpMetrics,
    /// Makes the spans of traced events.
    pub tracer: Tracer,
    /// All metrics of the node.
    pub counts: Counts,
}

impl App {
    /// Returns the maximum size of a body that publishes, in bytes.
    pub(super) fn body_limit(&self) -> usize {
        bytes(self.limits.batch_bytes)
    }

    /// Authenticates a request, and charges it to the rates of the user and of the address.
    ///
    /// # Errors
    ///
    /// Fails if the token is missing, not accepted or revoked, if the application does not let the client in, if `user=` is
    /// used although tokens are required, if a page of another origin uses credentials that the browser added, or if a rate
    /// is exceeded.
    pub async fn bearer(
        &self,
        headers: &HeaderMap,
        params: &Params,
        address: ClientAddress,
    ) -> Result<Bearer, Problem> {
        let bearer = self.token(headers, params, address).await;
        let user = bearer.as_ref().ok().and_then(|bearer| bearer.user.as_ref());
        self.rates.admit(Kind::Requests, Caller { user, address }, 1)?;
        Ok(bearer?)
    }

    /// Authenticates a request.
    ///
    /// # Errors
    ///
    /// Fails like [`App::bearer`], but for the rates.
    async fn token(
        &self,
        headers: &HeaderMap,
        params: &Params,
        address: ClientAddress,
    ) -> Result<Bearer, Denied> {
        let user = params.get("user");
        if user.is_some() && !self.auth.is_open() {
            let detail = "user= is accepted with --auth none only; the token names the user";
            return Err(Denied::Request(Problem::bad_request(detail)));
        }
        if self.auth.is_by_application(headers) {
            // First, so that a page of another origin does not make its visitors' browsers ask the application.
            origin::check(Carrier::Callback, headers, &self.http.allowed_origins)?;
        }
        let asked = Asked { token: params.get("token"), user, address, rates: Some(&self.rates) };
        let bearer = self.current_bearer(headers, asked).await;
        match &bearer {
            Ok(bearer) => trail::note(bearer),
            Err(AuthError::Token(TokenError::Expired { user, id })) => trail::note_expired(user, *id),
            Err(_) => {}
        }
        let bearer = bearer?;
        self.check(&bearer).map_err(AuthError::Refused)?;
        origin::check(bearer.carrier, headers, &self.http.allowed_origins)?;
        Ok(bearer)
    }

    /// Returns the bearer. What the application said before a revocation does not count: it is asked again.
    async fn current_bearer(&self, headers: &HeaderMap, asked: Asked<'_>) -> Result<Bearer, AuthError> {
        let now = SystemTime::now();
        let bearer = self.auth.bearer(headers, asked, now).await?;
        let is_stale = self.check(&bearer) == Err(TokenRefusal::Revoked);
        if is_stale && self.auth.forget(headers, &bearer, asked.address).await {
            return self.auth.bearer(headers, asked, now).await;
        }
        Ok(bearer)
    }

    fn check(&self, bearer: &Bearer) -> Result<(), TokenRefusal> {
        match bearer.user.as_ref().zip(bearer.stamp.as_ref()) {
            Some((user, stamp)) => self.revocations.check(user, stamp),
            None => Ok(()),
        }
    }

    /// Authenticates the request of a stream. Returns the ticket too, if it presents one, which is not used yet.
    ///
    /// # Errors
    ///
    /// Fails like [`App::token`], or if the ticket is not accepted. A failure that passes is one after which a native
    /// `EventSource` retries.
    pub(super) async fn stream_bearer(
        &self,
        headers: &HeaderMap,
        params: &Params,
        (resumes, session): (bool, Option<SessionId>),
        address: ClientAddress,
    ) -> Result<(Bearer, Option<Presented>), Refusal> {
        let Some(text) = params.get("ticket") else {
            return Ok((self.token(headers, params, address).await?, None));
        };
        if params.get("token").is_some() || params.get("user").is_some() {
            let detail = "ticket= names the user and replaces the token: send it without token= and user=";
            return Err(Problem::bad_request(detail).into());
        }
        // A look is a call of Redis, also for a ticket that was made up.
        self.rates.admit(Kind::Requests, Caller { user: None, address }, 1).map_err(Reason::Limited)?;
        let ticket = self.tickets.look(text, resumes, session).await?;
        let bearer = self.auth.by_ticket(&ticket, SystemTime::now())?;
        trail::note(&bearer);
        self.check(&bearer).map_err(AuthError::Refused)?;
        Ok((bearer, Some(ticket)))
    }
}

/// Why a request is not authenticated.
enum Denied {
    /// By its credentials.
    Auth(AuthError),
    /// By the rest of the request.
    Request(Problem),
}

impl From<AuthError> for Denied {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}

impl From<Problem> for Denied {
    fn from(problem: Problem) -> Self {
        Self::Request(problem)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Auth(error) => error.into(),
            Denied::Request(problem) => problem,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Auth(error) => error.into(),
            Denied::Request(problem) => problem.into(),
        }
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("node", &self.node).finish_non_exhaustive()
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(format!("invalid path: {}", rejection.body_text()))
    }
}
