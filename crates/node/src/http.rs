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
//! - [`channel_settings`]: settings in force for a channel; [`admin_page`]: the page of operators
//! - [`finite`]: finite streams
//! - `body`: bodies within the memory budget; `json_body`: small JSON bodies
//! - [`head_size`]: size limit of a request's head
//! - [`hosts`], `origin`: allowed host names, and protection from cross-site requests
//! - [`readiness`], [`health`]: checks of the readiness, and health checks; [`counts`]: the text of `/metrics`
//! - [`problem`]: maps errors to responses
//! - [`middleware`]: metrics, security headers, CORS and panics of all endpoints; `letter`: checks of HTTP requirements
//! - [`openapi`]: the description of the API
//! - [`metrics`]: metrics of HTTP

mod accept_encoding;
pub mod acks;
pub mod admin_page;
pub mod app;
pub mod attempt;
mod body;
pub mod channel_call;
pub mod channel_settings;
pub mod counts;
pub mod dead_letters;
pub mod events;
pub mod finite;
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
pub mod openapi;
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

use axum::routing::any;
use axum::{Extension, Router};
use fanfare_api::problem::TYPES_PATH;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderName, VARY};

use self::app::App;
use self::events::StreamEndpoint;
use self::hosts::Hosts;
use self::openapi::routes::{Described, Routes, delete, get, post, put};
use self::problem::{Code, Problem};
use crate::auth::Bearer;

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

    /// Checks that this listener serves a bearer. The admin listener has few sockets, which are for operators.
    ///
    /// # Errors
    ///
    /// Fails on the admin listener if the bearer has no right beyond channels.
    fn check(self, bearer: &Bearer) -> Result<(), Problem> {
        if self == Self::Admin && bearer.grants.admin.is_empty() {
            return Err(Problem::no_grant(
                "the admin listener is for operators: the token needs admin, or one of its rights",
            ));
        }
        Ok(())
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
    middleware::around(calls(app, side).merge(stream(endpoint)).merge(pages), app, (side, hosts))
}

/// Returns the routes of the admin listener, with the admin page.
pub fn admin_router(app: &Arc<App>, endpoint: StreamEndpoint, hosts: Hosts) -> Router {
    let routes = calls(app, Side::Admin).merge(stream(endpoint)).merge(admin_page::routes());
    middleware::around(routes, app, (Side::Admin, hosts))
}

/// Returns the route of the stream.
fn stream(endpoint: StreamEndpoint) -> Router {
    streaming().into_router().with_state(Arc::new(endpoint))
}

/// Returns all routes except the stream.
fn calls(app: &Arc<App>, side: Side) -> Router {
    let (clients, operating) = (clients(), operating());
    let inside = operating.paths();
    let shared = shared().into_router().layer(Extension(side));
    let router = match side {
        Side::Both => shared.merge(clients.into_router()).merge(operating.into_router()),
        Side::Public => {
            let public = shared.merge(clients.into_router());
            inside.into_iter().fold(public, |router, path| router.route(path, any(elsewhere)))
        }
        Side::Admin => shared.merge(operating.into_router()),
    };
    router
        .fallback(async || Problem::new(Code::NotFound, "no endpoint has this path"))
        .with_state(Arc::clone(app))
}

/// Returns the descriptions of all routes.
fn described() -> Vec<Described> {
    [streaming().described(), clients().described(), shared().described(), operating().described()].concat()
}

fn streaming() -> Routes<Arc<StreamEndpoint>> {
    Routes::new().route(stream_params::PATH, get(events::events, openapi::stream::events))
}

/// Returns the routes of clients, which only the public listener serves, if there are two.
fn clients() -> Routes<Arc<App>> {
    use openapi::{finite as described, operating, sessions};
    Routes::new()
        .route("/v1/sessions/{session}/token", post(session_token::replace, sessions::replace_token))
        .route(
            "/v1/ack",
            get(acks::acknowledged, sessions::acknowledged).post(acks::acknowledge, sessions::acknowledge),
        )
        .route("/v1/tickets", post(tickets::issue, sessions::issue_ticket))
        .route("/ready", get(health::ready, operating::ready))
        .route(
            finite::ROUTE,
            put(finite::create::create, described::create)
                .post(finite::append::append, described::append)
                .get(finite::read::read, described::read)
                .head(finite::inspect::inspect, described::inspect)
                .delete(finite::remove::remove, described::remove),
        )
}

/// Returns the routes of probes, monitoring and operators, which only the admin listener serves, if there is one.
fn operating() -> Routes<Arc<App>> {
    use openapi::operating;
    Routes::new()
        .route("/v1/nodes", get(nodes::nodes, operating::nodes))
        .route("/v1/streams", get(finite::list::list, operating::finite_streams))
        .route(
            "/v1/channels/{channel}/settings",
            get(channel_settings::settings, operating::channel_settings),
        )
        .route("/v1/revocations", post(revocations::revoke, operating::revoke))
        .route("/v1/dead-letters", get(dead_letters::list, operating::dead_letters))
        .route(
            "/v1/dead-letters/{id}",
            get(dead_letters::show, operating::dead_letter)
                .delete(dead_letters::drop_one, operating::drop_dead_letter),
        )
        .route("/v1/dead-letters/{id}/requeue", post(dead_letters::requeue, operating::requeue))
        .route("/readyz", get(health::readyz, operating::readyz))
        .route("/metrics", get(health::metrics, operating::metrics))
        .inside()
}

/// Returns the routes of both listeners. Users see their own sessions on the public listener, and publishers how many follow their
/// channels; admins see all sessions, and who follows a channel, on the admin listener. The admin page also publishes, and reads logs.
fn shared() -> Routes<Arc<App>> {
    use openapi::{operating, publishing, sessions as described};
    Routes::new()
        .route("/v1/publish", post(publish::publish, publishing::publish))
        .route("/v1/channels/{channel}/events", get(history::history, publishing::history))
        .route(
            "/v1/users/{user}/sessions",
            get(sessions::list, described::list).delete(sessions::end_all, described::end_all),
        )
        .route("/v1/users/{user}/sessions/{session}", delete(sessions::end_one, described::end_one))
        .route("/v1/channels/{channel}/presence", get(presence::presence, publishing::presence))
        .route(TYPES_PATH, get(problems::problems, operating::problems))
        .route(openapi::PATH, get(openapi::openapi, openapi::describe))
        .route("/healthz", get(health::healthz, operating::healthz))
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
