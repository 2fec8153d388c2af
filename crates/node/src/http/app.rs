//! What the calls have in common.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::PathRejection;
use fanfare_broker::{Broker, NodeId};
use http::HeaderMap;

use super::counts::Counts;
use super::health::Health;
use super::ignored::Ignored;
use super::metrics::HttpMetrics;
use super::origin;
use super::overload::Retries;
use super::params::Params;
use super::places::Places;
use super::problem::Problem;
use crate::address::ClientAddress;
use crate::address::trusted::TrustedProxies;
use crate::auth::{Asked, Auth, Bearer};
use crate::config::http::HttpConfig;
use crate::config::limits::LimitsConfig;
use crate::memory::Memory;
use crate::rates::{Caller, Kind, Rates};
use crate::read_budget::ReadBudget;
use crate::session::Sessions;

/// Shared by all calls, and as old as the node.
pub struct App {
    /// This node's name.
    pub node: NodeId,
    /// Everything that outlives the node.
    pub broker: Arc<dyn Broker>,
    /// What may be held for clients.
    pub memory: Memory,
    /// What may be read of logs at once.
    pub budget: Arc<ReadBudget>,
    /// Places for history calls.
    pub histories: Arc<Places>,
    /// Who holds which session.
    pub sessions: Sessions,
    /// Tells who asks.
    pub auth: Auth,
    /// What bounds a request.
    pub limits: LimitsConfig,
    /// What users and addresses may ask for in a second.
    pub rates: Arc<Rates>,
    /// Whose word on a client's address counts.
    pub proxies: TrustedProxies,
    /// How long clients that are turned away are told to wait.
    pub retries: Retries,
    /// Whether streams are compressed for clients that accept it.
    pub gzip: bool,
    /// Who may call, and how patient we are.
    pub http: HttpConfig,
    /// Whether the node is ready.
    pub health: Health,
    /// Parameters that were ignored.
    pub ignored: Ignored,
    /// What HTTP counts.
    pub metrics: HttpMetrics,
    /// Everything that the node counts.
    pub counts: Counts,
}

impl App {
    /// Tells who asks, and charges the request to the user's rate and the address's.
    ///
    /// # Errors
    ///
    /// As [`App::token`]; or when one of the rates is used up.
    pub fn bearer(
        &self,
        headers: &HeaderMap,
        params: &Params,
        address: ClientAddress,
    ) -> Result<Bearer, Problem> {
        let bearer = self.token(headers, params);
        let user = bearer.as_ref().ok().and_then(|bearer| bearer.user.as_ref());
        self.rates.admit(Kind::Requests, Caller { user, address }, 1)?;
        bearer
    }

    /// Tells who asks.
    ///
    /// # Errors
    ///
    /// Fails if there is no token or it is not accepted; for `user=` where a token names the user; or when a page of
    /// another origin uses what its visitor's browser adds by itself.
    pub fn token(&self, headers: &HeaderMap, params: &Params) -> Result<Bearer, Problem> {
        let user = params.get("user");
        if user.is_some() && !self.auth.is_open() {
            return Err(Problem::bad_request(
                "user= is accepted with --auth none only; the token names the user",
            ));
        }
        let asked = Asked { token: params.get("token"), user };
        let bearer = self.auth.bearer(headers, asked, SystemTime::now())?;
        origin::check(bearer.carrier, headers, &self.http.allowed_origins)?;
        Ok(bearer)
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
