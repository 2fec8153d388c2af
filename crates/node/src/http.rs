//! The HTTP API, as described in `docs/protocol.md`.
//!
//! # Layout
//!
//! - [`app`]: state shared by all endpoints
//! - [`params`]: query parameters
//! - [`events`], [`takeover`], [`overload`]: the stream, which takes its socket over, and the response if it cannot be
//!   served; [`attempt`]: the outcome of a request for a stream
//! - `stream_params`, `resume`: the parameters of a stream, and its start; [`ignored`]: unknown parameters of a stream request
//! - `accept_encoding`: negotiation of the content coding; `quality`: the weights of alternatives
//! - [`publish`], [`history`], [`presence`], [`sessions`], [`session_token`], [`acks`], [`tickets`], [`revocations`], [`nodes`], [`dead_letters`]: the other endpoints; [`places`]: concurrency limit of history calls
//! - [`channel_call`]: a call about the channel in its path
//! - `body`: bodies within the memory budget; `json_body`: small JSON bodies
//! - [`head_size`]: size limit of a request's head
//! - [`hosts`], `origin`: allowed host names, and protection from cross-site requests
//! - [`readiness`], [`health`]: checks of the readiness, and health checks; [`counts`]: the text of `/metrics`
//! - [`problem`]: maps errors to responses
//! - [`middleware`]: metrics, security headers, CORS and panics of all endpoints; `letter`: checks of HTTP requirements
//! - [`metrics`]: metrics of HTTP

mod accept_encoding;
pub mod acks;
pub mod app;
pub mod attempt;
mod body;
pub mod channel_call;
pub mod counts;
pub mod dead_letters;
pub mod events;
pub mod head_size;
pub mod health;
pub mod history;
pub mod hosts;
mod idempotency;
pub mod ignored;
mod json_body;
mod letter;
pub mod metrics;
pub mod middleware;
pub mod nodes;
mod origin;
pub mod overload;
pub mod params;
pub mod places;
pub mod presence;
pub mod problem;
pub mod problems;
pub mod publish;
mod quality;
pub mod readiness;
mod resume;
pub mod revocations;
pub mod session_token;
pub mod sessions;
mod stream_params;
pub mod takeover;
pub mod tickets;

use std::sync::Arc;

use axum::routing::{any, delete, get, post};
use axum::{Extension, Router};
use fanfare_api::problem::TYPES_PATH;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderName, VARY};

use self::app::App;
use self::events::StreamEndpoint;
use self::hosts::Hosts;
use self::problem::{Code, Problem};

/// Paths that only the admin listener serves, if there is one.
const INSIDE: [&str; 7] = [
    "/v1/nodes",
    "/v1/revocations",
    "/v1/dead-letters",
    "/v1/dead-letters/{id}",
    "/v1/dead-letters/{id}/requeue",
    "/readyz",
    "/metrics",
];

/// Endpoints of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// All endpoints: there is one listener.
    Both,
    /// Endpoints of clients and publishers.
    Public,
    /// Endpoints of probes, monitoring and operators.
    Admin,
}

impl Side {
    /// Returns the name of the listener in the audit log.
    fn listener(self) -> &'static str {
        match self {
            Self::Both | Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

/// Returns the routes of `node.listen`: all of them, or those that are not on the admin listener. `pages` are further
/// routes, like the page of `fanfare dev`.
pub fn router(
    app: &Arc<App>,
    endpoint: StreamEndpoint,
    pages: Router,
    (side, hosts): (Side, Hosts),
) -> Router {
    let events = Router::new().route(stream_params::PATH, get(events::events)).with_state(Arc::new(endpoint));
    middleware::around(calls(app, side).merge(events).merge(pages), app, (side, hosts))
}

/// Returns the routes of the admin listener.
pub fn admin_router(app: &Arc<App>, hosts: Hosts) -> Router {
    middleware::around(calls(app, Side::Admin), app, (Side::Admin, hosts))
}

/// Returns all routes except the stream.
fn calls(app: &Arc<App>, side: Side) -> Router {
    let publishing = Router::new()
        .route("/v1/publish", post(publish::publish))
        .route("/v1/channels/{channel}/events", get(history::history))
        .route("/v1/sessions/{session}/token", post(session_token::replace))
        .route("/v1/ack", get(acks::acknowledged).post(acks::acknowledge))
        .route("/v1/tickets", post(tickets::issue))
        .route("/ready", get(health::ready));
    let operating = Router::new()
        .route("/v1/nodes", get(nodes::nodes))
        .route("/v1/revocations", post(revocations::revoke))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{id}", get(dead_letters::show).delete(dead_letters::drop_one))
        .route("/v1/dead-letters/{id}/requeue", post(dead_letters::requeue))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics));
    // Users see their own sessions on the public listener, and publishers how many follow their channels; admins see all sessions,
    // and who follows a channel, on the admin listener.
    let shared = Router::new()
        .route("/v1/users/{user}/sessions", get(sessions::list).delete(sessions::end_all))
        .route("/v1/users/{user}/sessions/{session}", delete(sessions::end_one))
        .route("/v1/channels/{channel}/presence", get(presence::presence))
        .route(TYPES_PATH, get(problems::problems))
        .route("/healthz", get(health::healthz))
        .layer(Extension(side));
    let router = match side {
        Side::Both => shared.merge(publishing).merge(operating),
        Side::Public => {
            INSIDE.iter().fold(shared.merge(publishing), |router, path| router.route(path, any(elsewhere)))
        }
        Side::Admin => shared.merge(operating),
    };
    router
        .fallback(async || Problem::new(Code::NotFound, "no endpoint has this path"))
        .with_state(Arc::clone(app))
}

/// Returns the response to a request for an endpoint of the admin listener.
async fn elsewhere() -> Problem {
    Problem::new(Code::NotFound, "this endpoint is served on the admin listener (admin.listen)")
}

/// Returns the headers of every event stream: proxies must neither buffer nor change it.
fn stream_headers() -> [(HeaderName, &'static str); 4] {
    [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache, no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (VARY, ACCEPT_ENCODING.as_str()),
    ]
}

#[cfg(test)]
mod rights_tests;
#[cfg(test)]
mod tests;
