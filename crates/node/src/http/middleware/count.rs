//! What is done around each request: metrics, audit log, log, and the head of the response.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use fanfare_telemetry::Throttle;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tower::Service;

use super::{Responding, Shared, known};
use crate::address::ClientAddress;
use crate::audit::call::Call;
use crate::audit::trail::{self, Place};
use crate::http::app::App;
use crate::http::finite;
use crate::http::metrics::RequestLabels;
use crate::http::problem::Code;
use crate::request_info::RequestInfo;

/// Determines the client's address, counts the request, writes the audit log and completes the response's head.
#[derive(Clone)]
pub(super) struct Count<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S> Service<Request> for Count<S>
where
    S: Service<Request, Error = Infallible, Response: IntoResponse, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Responding;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let counted = Counted::of(&self.shared, &mut request);
        let place = counted.place.clone();
        let response = trail::follow(place, self.inner.call(request));
        Box::pin(async move {
            let Ok(response) = response.await;
            Ok(counted.finish(response.into_response()))
        })
    }
}

/// A request that is being served. A client that resets it drops this, and what it asked for may be done.
struct Counted {
    shared: Arc<Shared>,
    begun: Instant,
    call: Call,
    place: Place,
    is_answered: bool,
}

impl Counted {
    fn of(shared: &Arc<Shared>, request: &mut Request) -> Self {
        if let Some(info) = RequestInfo::of(request.extensions()) {
            let client = client_address(&shared.app, info.peer.0.ip(), request.headers());
            RequestInfo::set_client(request, client);
        }
        let call = Call::read(request, known(request.method()), shared.side.listener());
        let (shared, begun, place) = (Arc::clone(shared), Instant::now(), Place::default());
        Self { shared, begun, call, place, is_answered: false }
    }

    /// Logs the route without the query, which may contain a token.
    fn finish(mut self, mut response: Response) -> Response {
        self.is_answered = true;
        let (app, call) = (&self.shared.app, &self.call);
        app.audit.record(call, &self.place.take(), &response);
        guard(response.headers_mut());
        if &*call.route == finite::ROUTE {
            let (name, value) = finite::RESOURCE_POLICY;
            response.headers_mut().insert(name, value);
        }
        let status = response.status().as_u16();
        if let Some(code) = response.extensions().get::<Code>() {
            app.metrics.count_problem(code.as_str());
        }
        let address = call.peer.map(|_| tracing::field::display(call.address));
        let (method, route) = (call.method, call.route.clone());
        tracing::debug!(method, route = &*route, status, address, took = ?self.begun.elapsed(), "request completed");
        app.metrics.requests.get_or_create(&RequestLabels { route, method, status }).inc();
        response
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.is_answered {
            self.shared.app.audit.record_abandoned(&self.call, &self.place.take());
        }
    }
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
