//! Middleware of all endpoints: metrics, security headers, CORS, and panics.
//!
//! # Layout
//!
//! From the outside to the inside:
//!
//! - `count`: metrics, audit log, security headers
//! - CORS and panics, by `tower-http`
//! - `admit`: checks of each request
//!
//! They are services and not functions: a function as axum's middleware costs a boxed future and three copies of the inner
//! services for each request.

mod admit;
mod count;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use self::admit::Admit;
use self::count::Count;
use super::app::App;
use super::hosts::Hosts;
use super::idempotency::IDEMPOTENCY_KEY;
use super::problem::{self, Code, Problem};
use super::{Side, finite};

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
    let shared = Arc::new(Shared { app: Arc::clone(app), side, hosts });
    let to_admit = Arc::clone(&shared);
    // One layer for the router, which boxes each of its layers.
    router.layer(
        ServiceBuilder::new()
            .layer_fn(move |inner| Count { inner, shared: Arc::clone(&shared) })
            .option_layer(cors(&app.http.allowed_origins))
            .layer(CatchPanicLayer::custom(problem::of_panic))
            .layer_fn(move |inner| Admit { inner, shared: Arc::clone(&to_admit) }),
    )
}

/// What all requests of a listener need.
struct Shared {
    app: Arc<App>,
    side: Side,
    hosts: Hosts,
}

/// The future of a service that is not generic.
type Responding = BoxFuture<'static, Result<Response, Infallible>>;

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
    let requested = [
        AUTHORIZATION,
        CONTENT_TYPE,
        CACHE_CONTROL,
        IDEMPOTENCY_KEY,
        HeaderName::from_static("last-event-id"),
        HeaderName::from_static("prefer"),
        HeaderName::from_static("traceparent"),
    ];
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(requested.into_iter().chain(finite::REQUESTED).collect::<Vec<_>>())
        .expose_headers(
            [RETRY_AFTER, WWW_AUTHENTICATE, ALLOW].into_iter().chain(finite::EXPOSED).collect::<Vec<_>>(),
        )
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
