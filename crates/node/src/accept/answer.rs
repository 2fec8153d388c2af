//! What requests and their answers hold of the node's memory, until the client has them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::VARY;
use http::{HeaderMap, Request};
use hyper::body::{Frame, SizeHint};

use super::slots::InHand;
use super::tap::Flushed;
use crate::http::head_size;
use crate::http::problem::Problem;
use crate::memory::{Account, Kind, NoRoom, Permit};

/// What a request takes beside its head and its body, a small answer included, in bytes.
const REQUEST: usize = 4 * 1024;
/// An answer up to so many bytes is small.
const SMALL: usize = 2 * 1024;
/// How much of an answer HTTP gets at a time, so that what it holds by itself is bounded.
const PIECE: usize = 16 * 1024;

/// Takes room for a request. One that finds none carries [`NoRoom`], and is refused where it is known how.
pub(super) fn enter<B>(account: &Account, request: &mut Request<B>) -> Option<Permit> {
    let head = head_size::of(request.method(), request.uri(), request.headers());
    request.extensions_mut().insert(account.clone());
    match account.take(Kind::Requests, head + REQUEST) {
        Ok(permit) => Some(permit),
        Err(no_room) => {
            request.extensions_mut().insert(no_room);
            None
        }
    }
}

/// Takes room for an answer. One that finds none is another one: that there is no room.
pub(super) fn charge(account: &Account, response: Response) -> (Response, Option<Permit>) {
    let bytes = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(bytes) = bytes.filter(|bytes| *bytes > SMALL) else { return (response, None) };
    match account.take(Kind::Answers, bytes) {
        Ok(permit) => (response, Some(permit)),
        Err(no_room) => (refusal(no_room, response.headers()), None),
    }
}

/// A page of another origin may read it, as the answer that was to be.
fn refusal(no_room: NoRoom, headers: &HeaderMap) -> Response {
    let mut response = Problem::from(no_room).into_response();
    for (name, value) in headers {
        if *name == VARY || name.as_str().starts_with("access-control-") {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response
}

/// A large answer on its way to HTTP/1.1, and what it holds.
struct Held {
    body: Body,
    /// Came from the body and is not with HTTP yet.
    rest: Bytes,
    permits: [Option<Permit>; 2],
    flushed: Flushed,
    _in_hand: InHand,
}

/// Has an answer hold its permits until it is with the client. A small one is with HTTP at once.
pub(super) fn hold(
    response: Response,
    permits: [Option<Permit>; 2],
    flushed: &Flushed,
    in_hand: InHand,
) -> Response {
    if permits[1].is_none() {
        permits.into_iter().flatten().for_each(|permit| flushed.hold(permit));
        return response;
    }
    let flushed = flushed.clone();
    response.map(|body| Body::new(Held { body, rest: Bytes::new(), permits, flushed, _in_hand: in_hand }))
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let held = self.get_mut();
        if held.rest.is_empty() {
            match ready!(Pin::new(&mut held.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => held.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let piece = held.rest.split_to(PIECE.min(held.rest.len()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let hint = self.body.size_hint();
        hint.exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + rest))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The last piece may still wait for the socket.
        self.permits.iter_mut().filter_map(Option::take).for_each(|permit| self.flushed.hold(permit));
    }
}
