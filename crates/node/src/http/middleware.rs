//! Middleware of all endpoints: metrics, security headers, CORS, and panics.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use fanfare_telemetry::Throttle;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method};
use scopeguard::ScopeGuard;
use tokio::time::Instant;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::app::App;
use super::hosts::Hosts;
use super::idempotency::IDEMPOTENCY_KEY;
use super::letter;
use super::metrics::RequestLabels;
use super::problem::{self, Code, Problem};
use super::{Side, head_size, stream_params};
use crate::address::{ClientAddress, Peer};
use crate::audit::call::Call;
use crate::audit::trail::{self, Place};
use crate::memory::NoRoom;

/// Time for which a browser may cache a CORS preflight.
const PREFLIGHT_AGE: Duration = Duration::from_hours(1);

/// Label of unknown methods.
const OTHER: &str = "other";

/// Adds the middleware to the router of a listener. The first layer is the outermost one.
pub(super) fn around(router: Router, app: &Arc<App>, (side, hosts): (Side, Hosts)) -> Router {
    let router = router
        // After all routes were added, since the fallback applies to each of them.
        .method_not_allowed_fallback(async |method: Method| {
            if known(&method) == OTHER {
                return Problem::new(Code::NotImplemented, "no endpoint supports this method");
            }
            Problem::new(Code::MethodNotAllowed, "the Allow header lists the methods of this path")
        });
    // One layer for the router, which boxes each of its layers.
    router.layer(
        ServiceBuilder::new()
            .layer(from_fn_with_state((Arc::clone(app), side.listener()), count))
            .option_layer(cors(&app.http.allowed_origins))
            .layer(CatchPanicLayer::custom(problem::of_panic))
            .layer(from_fn_with_state((Arc::clone(app), Arc::new(hosts)), admit)),
    )
}

/// Checks a request before its endpoint sees it. One layer, since each one costs a boxed future and copies of the
/// request.
async fn admit(
    State((app, hosts)): State<(Arc<App>, Arc<Hosts>)>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err(refusal) = check(&app, &hosts, &mut request) {
        return *refusal;
    }
    // Preconditions count only if the response would be a success (RFC 9110, section 13.2.1). Calls that change something,
    // and streams, check theirs before that.
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD)
        && request.uri().path() != stream_params::PATH;
    let precondition =
        is_read.then(|| letter::precondition(request.method(), request.headers()).err()).flatten();
    let response = next.run(request).await;
    match precondition {
        Some(problem) if response.status().is_success() => problem.into_response(),
        _ => response,
    }
}

/// Checks the number of fields and the size of a request's head, its memory reservation, what RFC 9110 and RFC 9112 require,
/// and its host. The head and the reservation of a stream are checked where its channels and its cursor are known.
fn check(app: &App, hosts: &Hosts, request: &mut Request) -> Result<(), Box<Response>> {
    let refuse = |problem: Problem| Box::new(problem.into_response());
    head_size::check_fields(request.headers()).map_err(refuse)?;
    let is_events = request.uri().path() == stream_params::PATH;
    if !is_events || request.method() == Method::OPTIONS {
        let size = head_size::of(request.method(), request.uri(), request.headers());
        head_size::check(size, app.limits.head_bytes).map_err(refuse)?;
    }
    if let Some(no_room) = request.extensions().get::<NoRoom>()
        && !is_events
    {
        return Err(refuse(Problem::from(*no_room)));
    }
    letter::check(request)?;
    hosts.check(request.headers()).map_err(refuse)
}

/// Determines the client's address, counts the request, writes the audit log and completes the response's head. Logs the route
/// without the query, which may contain a token.
async fn count(
    State((app, listener)): State<(Arc<App>, &'static str)>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip());
    let address = peer.map(|peer| client_address(&app, peer, request.headers()));
    if let Some(address) = address {
        request.extensions_mut().insert(address);
    }
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = known(request.method());
    let call = Call::read(&mut request, (method, route), listener).await;
    // A client that resets its request drops this, and what it asked for may be done.
    let unanswered = scopeguard::guard((call, Place::default()), |(call, place)| {
        app.audit.record_abandoned(&call, place.take().as_ref());
    });
    let mut response = trail::follow(&unanswered.1, next.run(request)).await;
    let (call, place) = ScopeGuard::into_inner(unanswered);
    app.audit.record(&call, place.take().as_ref(), &response);
    let route = call.route;
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

/// Returns the client's address. Counts and logs a header of client addresses that is ignored: behind a balancer that is not
/// listed, all clients share the limits of its address.
fn client_address(app: &App, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
    static LOG: Throttle = Throttle::of_a_condition();
    if app.proxies.ignores(peer, headers) {
        app.metrics.forwarded_ignored.inc();
        if let Some(held_back) = LOG.admit() {
            let reason = "the peer is not in http.trusted_proxies";
            tracing::info!(%peer, reason, held_back, "ignored the header that names the client's address");
        }
    }
    app.proxies.client(peer, headers)
}

/// Sets headers that prevent caching and content sniffing. An existing cache header stays.
fn guard(headers: &mut HeaderMap) {
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Returns the label of a method. Unknown methods share one label, since each label uses memory forever.
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

/// Returns the CORS layer for the allowed origins; `None` if there are none. Cookies are allowed only for listed
/// origins, not for `*`.
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
            // The settings are checked: each entry is a valid origin.
            let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
            Some(layer.allow_origin(AllowOrigin::list(origins)).allow_credentials(true))
        }
    }
}
