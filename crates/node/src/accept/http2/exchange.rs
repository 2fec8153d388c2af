//! One request on an HTTP/2 connection, and its answer: written out here, or a stream that is the hub's from then on.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::body::Incoming;
use super::seat::Place;
use super::socket::StreamSocket;
use crate::accept::tap::Flushed;
use crate::accept::{Server, answer};
use crate::address::Peer;
use crate::http::handover::{Handover, Parcel};
use crate::memory::{Account, Permit};
use crate::pace::{Pace, TooSlow};
use crate::stream::Framing;

/// One of them.
pub(super) struct Exchange {
    server: Arc<Server>,
    peer: Peer,
    place: Place,
    account: Account,
    flushed: Flushed,
}

/// Why an answer was not written to its end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// The client took it back, or its connection is gone.
    #[error(transparent)]
    Gone(#[from] h2::Error),
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
    #[error("the response ended early: {0}")]
    Body(axum::Error),
}

impl Exchange {
    pub(super) fn new(
        server: Arc<Server>,
        peer: Peer,
        (place, account, flushed): (Place, Account, Flushed),
    ) -> Self {
        Self { server, peer, place, account, flushed }
    }

    /// Answers. Ends early when the client takes its request back.
    pub(super) async fn run(self, mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (peer, head_only) = (self.peer, request.method() == Method::HEAD);
        let entered = answer::enter(&self.account, &mut request);
        let response = tokio::select! {
            response = self.server.router.clone().oneshot(self.incoming(request)) => response,
            // Only looks, and nobody waits for the answer any more.
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
        };
        let Ok(mut response) = response;
        response.headers_mut().entry(DATE).or_insert_with(now);
        let result = match response.extensions().get::<Handover>().and_then(Handover::take) {
            Some(parcel) => self.hand_over(parcel, response, &mut respond),
            None => self.answer(response, head_only, entered, &mut respond).await,
        };
        if let Err(error) = result {
            tracing::debug!(%error, peer = %peer.0, "response not completed");
        }
    }

    fn incoming(&self, request: Request<RecvStream>) -> Request<Body> {
        let (mut parts, stream) = request.into_parts();
        parts.extensions.insert(self.peer);
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Request::from_parts(parts, Body::new(Incoming::new(stream, length)))
    }

    /// Gives the hub one stream of the connection as its socket.
    fn hand_over(
        self,
        parcel: Parcel,
        response: Response,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), Broken> {
        let Parcel { mut stream, opening } = parcel;
        let mut response = response.map(drop);
        // It is of the empty body that the stream came with.
        response.headers_mut().remove(CONTENT_LENGTH);
        let out = respond.send_response(response, false)?;
        let mut place = self.place;
        place.carry_stream();
        stream.framing = Framing::Plain;
        (self.server.open)(stream, Box::new(StreamSocket::new(out, place)));
        // The hub counts it from here on.
        drop(opening);
        Ok(())
    }

    async fn answer(
        &self,
        response: Response,
        head_only: bool,
        entered: Option<Permit>,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), Broken> {
        let (response, charged) = answer::charge(&self.account, response);
        let (parts, mut body) = response.into_parts();
        let empty = head_only || body.is_end_stream();
        let mut out = respond.send_response(Response::from_parts(parts, ()), empty)?;
        if empty {
            return Ok(());
        }
        let sent = self.send(&mut body, &mut out).await;
        if sent.is_err() {
            // Nothing of it stays in the connection; a client that is gone already is not told again.
            out.send_reset(Reason::INTERNAL_ERROR);
        }
        // The last of it waits in the connection for the socket.
        [entered, charged].into_iter().flatten().for_each(|permit| self.flushed.hold(permit));
        sent
    }

    async fn send(&self, body: &mut Body, out: &mut SendStream<Bytes>) -> Result<(), Broken> {
        let mut pace = Pace::new(self.server.bounds.floor);
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                // Only looks.
                _ = poll_fn(|cx| out.poll_reset(cx)) => return Ok(()),
            };
            let Some(frame) = frame.transpose().map_err(Broken::Body)? else { break };
            // No answer of ours has trailers.
            let Ok(mut data) = frame.into_data() else { continue };
            while !data.is_empty() {
                out.reserve_capacity(data.len());
                let room = pace.within(room(out)).await??;
                let piece = data.split_to(room.min(data.len()));
                pace.moved(piece.len());
                out.send_data(piece, false)?;
            }
        }
        Ok(out.send_data(Bytes::new(), true)?)
    }
}

/// Waits until the client's window, and what waits before it, leave room for some bytes.
async fn room(out: &mut SendStream<Bytes>) -> Result<usize, h2::Error> {
    while out.capacity() == 0 {
        match poll_fn(|cx| out.poll_capacity(cx)).await {
            Some(room) => drop(room?),
            None => return Err(Reason::CANCEL.into()),
        }
    }
    Ok(out.capacity())
}

fn now() -> HeaderValue {
    let now = httpdate::fmt_http_date(SystemTime::now());
    // It has letters, digits, commas, colons and spaces.
    HeaderValue::try_from(now).unwrap_or(HeaderValue::from_static(""))
}
