//! Memory of requests and responses, charged to the node's budget until the client has received them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::VARY;
use http::{HeaderMap, Request};
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep;

use super::slots::RequestInFlight;
use super::timeout_io::FlushState;
use crate::address::{ClientAddress, Peer};
use crate::http::head_size;
use crate::http::problem::Problem;
use crate::memory::{Account, Kind, NoRoom, Permit};
use crate::request_info::RequestInfo;

/// Memory of a request besides its head and its body, including a small response, in bytes.
const REQUEST: usize = 4 * 1024;
/// Maximum size of a small response, in bytes.
const SMALL: usize = 2 * 1024;
/// Maximum size of the pieces in which hyper gets a response, in bytes, so that its buffer is bounded.
const PIECE: usize = 16 * 1024;
/// Interval at which a response that is to break off is checked for bytes that wait for the socket.
const FLUSH_CHECK: Duration = Duration::from_millis(10);

/// Charges a request, and gives it its [`RequestInfo`]. A request for which there is no memory is refused by
/// [`crate::http`], like one whose body was `refused`.
pub(super) fn request<B>(
    (peer, account): (Peer, &Account),
    request: &mut Request<B>,
    refused: Option<NoRoom>,
) -> Option<Permit> {
    let head = head_size::of(request.method(), request.uri(), request.headers());
    let charged = account.take(Kind::Requests, head + REQUEST);
    let (account, client) = (account.clone(), ClientAddress::default());
    let no_room = refused.or(charged.as_ref().err().copied());
    request.extensions_mut().insert(RequestInfo { peer, client, account, no_room, head });
    charged.ok()
}

/// Charges a response. If there is no memory for it, returns a refusal in its place.
pub(super) fn response(account: &Account, response: Response) -> (Response, Option<Permit>) {
    let bytes = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(bytes) = bytes.filter(|bytes| *bytes > SMALL) else { return (response, None) };
    match account.take(Kind::Responses, bytes) {
        Ok(permit) => (response, Some(permit)),
        Err(no_room) => (refusal(no_room, response.headers()), None),
    }
}

/// Returns the refusal, with the headers that let a page of another origin read the response.
fn refusal(no_room: NoRoom, headers: &HeaderMap) -> Response {
    let mut response = Problem::from(no_room).into_response();
    for (name, value) in headers {
        if *name == VARY || name.as_str().starts_with("access-control-") {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response
}

/// The body of a large response over HTTP/1.1, or of one whose length is not known, with its permits.
struct ChargedBody {
    body: Body,
    /// Bytes of the body that hyper has not got yet.
    rest: Bytes,
    permits: [Option<Permit>; 2],
    flushed: FlushState,
    /// Why the response breaks off. hyper drops what it has not written then, so the error waits until all is written.
    broken: Option<(axum::Error, BoxFuture<'static, ()>)>,
    _in_flight: RequestInFlight,
}

/// Keeps the permits of a response until the client has received it. A small response is passed to hyper at once. A response
/// of unknown length is in flight until its end.
pub(super) fn until_sent(
    response: Response,
    permits: [Option<Permit>; 2],
    flushed: &FlushState,
    in_flight: RequestInFlight,
) -> Response {
    if permits[1].is_none() && response.body().size_hint().exact().is_some() {
        permits.into_iter().flatten().for_each(|permit| flushed.hold(permit));
        return response;
    }
    let flushed = flushed.clone();
    response.map(|body| {
        let rest = Bytes::new();
        Body::new(ChargedBody { body, rest, permits, flushed, broken: None, _in_flight: in_flight })
    })
}

/// Waits until all that was passed to a connection is written. A client that does not read is closed by the timeouts of the
/// socket.
pub(super) async fn until_flushed(flushed: &FlushState) {
    loop {
        sleep(FLUSH_CHECK).await;
        if flushed.get() {
            return;
        }
    }
}

impl ChargedBody {
    /// Returns the error with which the response breaks off, when all before it is written.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some((_, written)) = &mut self.broken {
            ready!(written.as_mut().poll(cx));
        }
        Poll::Ready(self.broken.take().map(|(error, _)| Err(error)))
    }
}

impl HttpBody for ChargedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let held = self.get_mut();
        if held.broken.is_some() {
            return held.poll_broken(cx);
        }
        if held.rest.is_empty() {
            match ready!(Pin::new(&mut held.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => held.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => {
                    let flushed = held.flushed.clone();
                    held.broken = Some((error, async move { until_flushed(&flushed).await }.boxed()));
                    return held.poll_broken(cx);
                }
                None => return Poll::Ready(None),
            }
        }
        let piece = held.rest.split_to(PIECE.min(held.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let hint = self.body.size_hint();
        hint.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + rest))
    }
}

impl Drop for ChargedBody {
    fn drop(&mut self) {
        // The last piece may still be queued for the socket.
        self.permits.iter_mut().filter_map(Option::take).for_each(|permit| self.flushed.hold(permit));
    }
}
