//! The calls, as `docs/protocol.md` has them.
//!
//! # Layout
//!
//! - [`app`]: what the calls have in common
//! - [`params`]: the query of a request
//! - [`events`], [`handover`], [`overload`]: the stream, how its connection leaves HTTP, and the answer when it cannot
//!   be served
//! - `resume`: where a stream begins; [`ignored`]: the parameters of its request that are not known
//! - `accept_encoding`: whether a client accepts a stream that is compressed
//! - [`publish`], [`history`], [`sessions`], [`nodes`]: the other calls
//! - [`head_size`]: how large a request's head may be
//! - [`health`]: whether the node lives, and whether it is ready
//! - [`problem`]: the one place where errors become answers
//! - [`layers`]: what is done around every call; `letter`: what HTTP itself asks of a request
//! - [`metrics`]: what HTTP counts

mod accept_encoding;
pub mod app;
pub mod events;
pub mod handover;
pub mod head_size;
pub mod health;
pub mod history;
mod idempotency;
pub mod ignored;
pub mod layers;
mod letter;
pub mod metrics;
pub mod nodes;
pub mod overload;
pub mod params;
pub mod problem;
pub mod publish;
mod resume;
pub mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderName, VARY};

use self::app::App;
use self::events::Door;
use self::problem::{Code, Problem};

/// Every call. `pages` are routes of somebody else, like the page of `fanfare dev`.
pub fn router(app: &Arc<App>, door: Door, pages: Router) -> Router {
    let events = Router::new().route(events::PATH, get(events::events)).with_state(Arc::new(door));
    layers::around(calls(app).merge(events).merge(pages), app)
}

/// Every call but the stream.
fn calls(app: &Arc<App>) -> Router {
    Router::new()
        .route("/v1/publish", post(publish::publish))
        .route("/v1/channels/{channel}/events", get(history::history))
        .route("/v1/users/{user}/sessions", get(sessions::list).delete(sessions::end_all))
        .route("/v1/users/{user}/sessions/{session}", delete(sessions::end_one))
        .route("/v1/nodes", get(nodes::nodes))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(async || Problem::new(Code::NotFound, "no call has this path"))
        .with_state(Arc::clone(app))
}

/// The headers of every event stream: nothing on the way may keep it back or change it.
fn stream_headers() -> [(HeaderName, &'static str); 4] {
    [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (VARY, ACCEPT_ENCODING.as_str()),
    ]
}

#[cfg(test)]
mod tests;
