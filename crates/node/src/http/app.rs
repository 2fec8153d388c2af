//! State shared by all endpoints.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::PathRejection;
use fanfare_auth::TokenError;
use fanfare_broker::{Broker, NodeId};
use fanfare_config::ack::AckConfig;
use fanfare_config::http::HttpConfig;
use fanfare_config::limits::LimitsConfig;
use fanfare_coordination::revocations::stream_token::StreamTokens;
use fanfare_coordination::revocations::{Revocations, TokenRefusal};
use fanfare_coordination::session::Sessions;
use fanfare_hub::read_budget::ReadBudget;
use fanfare_hub::retry::RetryPolicy;
use fanfare_protocol::SessionId;
use http::HeaderMap;

use super::counts::Counts;
use super::ignored::Ignored;
use super::metrics::HttpMetrics;
use super::origin;
use super::overload::{Reason, Refusal};
use super::params::Params;
use super::places::Places;
use super::problem::{Code, Problem};
use super::readiness::Readiness;
use crate::address::ClientAddress;
use crate::address::trusted::TrustedProxies;
use crate::audit::{Audit, trail};
use crate::auth::tickets::{Presented, Tickets};
use crate::auth::{Asked, Auth, AuthError, Bearer};
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
    /// Readiness of the node.
    pub readiness: Readiness,
    /// Ignored parameters.
    pub ignored: Ignored,
    /// The audit log.
    pub audit: Arc<Audit>,
    /// Metrics of HTTP.
    pub metrics: HttpMetrics,
    /// All metrics of the node.
    pub counts: Counts,
}

impl App {
    /// Authenticates a request, and charges it to the rates of the user and of the address.
    ///
    /// # Errors
    ///
    /// Fails like [`App::token`], or if a rate is exceeded.
    pub async fn bearer(
        &self,
        headers: &HeaderMap,
        params: &Params,
        address: ClientAddress,
    ) -> Result<Bearer, Problem> {
        let bearer = self.token(headers, params).await;
        let user = bearer.as_ref().ok().and_then(|bearer| bearer.user.as_ref());
        self.rates.admit(Kind::Requests, Caller { user, address }, 1)?;
        bearer
    }

    /// Authenticates a request.
    ///
    /// # Errors
    ///
    /// Fails if the token is missing, not accepted or revoked, if `user=` is used although tokens are required, or if a page
    /// of another origin uses credentials that the browser added.
    pub async fn token(&self, headers: &HeaderMap, params: &Params) -> Result<Bearer, Problem> {
        let user = params.get("user");
        if user.is_some() && !self.auth.is_open() {
            return Err(Problem::bad_request(
                "user= is accepted with --auth none only; the token names the user",
            ));
        }
        let asked = Asked { token: params.get("token"), user };
        let bearer = self.auth.bearer(headers, asked, SystemTime::now()).await;
        match &bearer {
            Ok(bearer) => trail::note(bearer),
            Err(AuthError::Token(TokenError::Expired { user, id })) => trail::note_expired(user, *id),
            Err(_) => {}
        }
        let bearer = bearer?;
        if let Some((user, stamp)) = bearer.user.as_ref().zip(bearer.stamp.as_ref()) {
            self.revocations.check(user, stamp).map_err(AuthError::Refused)?;
        }
        origin::check(bearer.carrier, headers, &self.http.allowed_origins)?;
        Ok(bearer)
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
            let bearer = self.token(headers, params).await.map_err(|problem| {
                if problem.code != Code::Unavailable {
                    return Refusal::Final(problem);
                }
                // The token cannot be verified now.
                let is_loaded = self.revocations.is_loaded();
                Refusal::Later(if is_loaded { Reason::NoKeys } else { Reason::NoRevocations })
            })?;
            return Ok((bearer, None));
        };
        if params.get("token").is_some() || params.get("user").is_some() {
            let detail = "ticket= names the user and replaces the token: send it without token= and user=";
            return Err(Problem::bad_request(detail).into());
        }
        // A look is a call of Redis, also for a ticket that was made up.
        self.rates.admit(Kind::Requests, Caller { user: None, address }, 1).map_err(Reason::Limited)?;
        let ticket = self.tickets.look(text, resumes, session).await?;
        let bearer = self.auth.by_ticket(&ticket)?;
        trail::note(&bearer);
        if let Some(stamp) = &ticket.content.stamp {
            self.revocations.check(&ticket.user, stamp).map_err(|refusal| match refusal {
                TokenRefusal::NotLoaded => Refusal::Later(Reason::NoRevocations),
                TokenRefusal::Revoked => Refusal::Final(AuthError::Refused(refusal).into()),
            })?;
        }
        Ok((bearer, Some(ticket)))
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
