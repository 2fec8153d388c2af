//! Checks of a request before its endpoint sees it.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::TryFutureExt;
use futures_util::future::Either;
use http::Method;
use tower::Service;

use super::{Responding, Shared};
use crate::http::problem::Problem;
use crate::http::{Side, finite, head_size, letter, origin, stream_params};
use crate::request_info::RequestInfo;

/// Checks a request before its endpoint sees it.
#[derive(Clone)]
pub(super) struct Admit<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S> Service<Request> for Admit<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Responding>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Err(refusal) = check(&self.shared, &mut request) {
            return Either::Right(Box::pin(ready(Ok(*refusal))));
        }
        // Preconditions count only if the response would be a success (RFC 9110, section 13.2.1). Calls that change
        // something, and streams, check theirs before that.
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD)
            && request.uri().path() != stream_params::PATH
            // Finite streams have entity tags.
            && !request.uri().path().starts_with(finite::PREFIX);
        let precondition =
            is_read.then(|| letter::precondition(request.method(), request.headers()).err()).flatten();
        let response = self.inner.call(request);
        match precondition {
            None => Either::Left(response),
            Some(problem) => Either::Right(Box::pin(response.map_ok(|response| {
                if response.status().is_success() { problem.into_response() } else { response }
            }))),
        }
    }
}

/// Checks the number of fields and the size of a request's head, its memory reservation, what RFC 9110 and RFC 9112 require,
/// its host, and on the admin listener the page that sent it. The head and the reservation of a stream are checked where its channels and its cursor are known.
fn check(Shared { app, side, hosts }: &Shared, request: &mut Request) -> Result<(), Box<Response>> {
    let refuse = |problem: Problem| Box::new(problem.into_response());
    head_size::check_fields(request.headers()).map_err(refuse)?;
    let info = RequestInfo::of(request.extensions());
    let is_events = request.uri().path() == stream_params::PATH;
    if !is_events || request.method() == Method::OPTIONS {
        let size = info.map_or_else(
            || head_size::of(request.method(), request.uri(), request.headers()),
            |info| info.head,
        );
        head_size::check(size, app.limits.head_bytes).map_err(refuse)?;
    }
    if let Some(no_room) = info.and_then(|info| info.no_room)
        && !is_events
    {
        return Err(refuse(Problem::from(no_room)));
    }
    letter::check(request)?;
    hosts.check(request.headers()).map_err(refuse)?;
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if *side == Side::Admin && !is_read {
        origin::check_page(request.headers(), &app.http.allowed_origins).map_err(refuse)?;
    }
    Ok(())
}
