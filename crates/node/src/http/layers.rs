//! What is done around every call: counting, what browsers and caches must not do, CORS, and catching panics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::app::App;
use super::hosts::{self, Hosts};
use super::idempotency::IDEMPOTENCY_KEY;
use super::letter;
use super::metrics::RequestLabels;
use super::problem::{self, Code, Problem};
use super::{events, head_size};
use crate::accept::Peer;
use crate::memory::NoRoom;

/// How long a browser may remember what it asked about CORS.
const PREFLIGHT_AGE: Duration = Duration::from_hours(1);

/// What a method that no server must know is counted as.
const OTHER: &str = "other";

/// Puts the layers around the router of a listener that answers to `hosts`: the last is the outermost, and sees the
/// others' answers.
pub(super) fn around(router: Router, app: &Arc<App>, hosts: Hosts) -> Router {
    let router = router
        // After all routes are there: it is given to each of them.
        .method_not_allowed_fallback(async |method: Method| {
            if known(&method) == OTHER {
                return Problem::new(Code::NotImplemented, "no endpoint supports this method");
            }
            Problem::new(Code::MethodNotAllowed, "the Allow header lists the methods of this path")
        });
    let router = match hosts {
        // Nothing to look at, and nothing to pay for it.
        Hosts::Every => router,
        hosts => router.layer(from_fn_with_state(Arc::new(hosts), hosts::check)),
    };
    let router = router
        .layer(from_fn(letter::check))
        .layer(from_fn(room))
        .layer(CatchPanicLayer::custom(problem::of_panic))
        .layer(from_fn_with_state(Arc::clone(app), head));
    let router = match cors(&app.http.allowed_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(from_fn_with_state(Arc::clone(app), count))
}

/// Refuses a head that is too large. One of a stream is judged where its channels are known.
async fn head(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.uri().path() == events::PATH && request.method() != Method::OPTIONS {
        return next.run(request).await;
    }
    let size = head_size::of(request.method(), request.uri(), request.headers());
    match head_size::check(size, app.limits.head_bytes) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Refuses a request that found no room in the node's memory. One of a stream is answered where its cursor is known.
async fn room(request: Request, next: Next) -> Response {
    match request.extensions().get::<NoRoom>() {
        Some(no_room) if request.uri().path() != events::PATH => Problem::from(*no_room).into_response(),
        _ => next.run(request).await,
    }
}

/// Finds out where a request comes from, counts it and its answer, and finishes the answer's head. The path is told
/// without its query: there may be a token in it.
async fn count(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip());
    let address = peer.map(|peer| app.proxies.client(peer, request.headers()));
    if let Some(address) = address {
        request.extensions_mut().insert(address);
    }
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = known(request.method());
    let mut response = next.run(request).await;
    guard(response.headers_mut());
    let status = response.status().as_u16();
    if let Some(code) = response.extensions().get::<Code>() {
        app.metrics.count_problem(code.as_str());
    }
    let address = address.map(tracing::field::display);
    tracing::debug!(method, route, status, address, took = ?begun.elapsed(), "request completed");
    app.metrics.requests.get_or_create(&RequestLabels { route, method, status }).inc();
    response
}

/// Says what no cache and no browser may do with an answer: keep it, or take it for another type than it has. What a
/// call says of caches itself stays.
fn guard(headers: &mut HeaderMap) {
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Returns the method as a label: anybody may invent one, and each label costs memory for ever.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => OTHER,
    }
}

/// CORS for the origins allowed; none if there are none. Cookies are for origins that are named.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            CACHE_CONTROL,
            IDEMPOTENCY_KEY,
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("prefer"),
        ])
        .expose_headers([RETRY_AFTER, WWW_AUTHENTICATE, ALLOW])
        .max_age(PREFLIGHT_AGE);
    match origins {
        [] => None,
        [every] if every == "*" => Some(layer.allow_origin(AllowOrigin::any())),
        origins => {
            // The settings are checked: each is the text of an origin.
            let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
            Some(layer.allow_origin(AllowOrigin::list(origins)).allow_credentials(true))
        }
    }
}
