//! One request on an HTTP/2 connection, and its response: written here, or a stream that the hub serves.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use fanfare_hub::stream::{NewStream, Protocol, Transport};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::ServiceExt;

use super::body::Incoming;
use super::socket::StreamSocket;
use super::stream_slots::StreamSlot;
use crate::address::Peer;
use crate::http::takeover::{Admission, Takeover};
use crate::listener::timeout_io::FlushState;
use crate::listener::{ListenerContext, charge};
use crate::memory::{Account, Permit};
use crate::pace::{Pace, TooSlow};

/// One request and its response.
pub(super) struct Exchange {
    context: Arc<ListenerContext>,
    peer: Peer,
    stream_slot: StreamSlot,
    account: Account,
    flushed: FlushState,
}

/// Why a response was not completed.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// The client reset the request, or the connection is closed.
    #[error(transparent)]
    Gone(#[from] h2::Error),
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
    #[error("the response ended early: {0}")]
    Body(axum::Error),
}

impl Exchange {
    pub(super) fn new(
        context: Arc<ListenerContext>,
        peer: Peer,
        (stream_slot, account, flushed): (StreamSlot, Account, FlushState),
    ) -> Self {
        Self { context, peer, stream_slot, account, flushed }
    }

    /// Responds to the request. Ends early if the client resets it.
    pub(super) async fn run(self, mut request: Request<Incoming>, mut respond: SendResponse<Bytes>) {
        let (peer, head_only) = (self.peer, request.method() == Method::HEAD);
        let refused = request.body().no_room();
        let entered = charge::request((self.peer, &self.account), &mut request, refused);
        let response = tokio::select! {
            response = self.context.router.clone().oneshot(request.map(Body::new)) => response,
            // Only waits; the client no longer waits for the response.
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
        };
        let Ok(mut response) = response;
        response.headers_mut().entry(DATE).or_insert_with(now);
        let result = match response.extensions().get::<Takeover>().and_then(Takeover::take) {
            Some(taken) => self.open(taken, response, &mut respond),
            None => self.answer(response, head_only, entered, &mut respond).await,
        };
        if let Err(error) = result {
            tracing::debug!(%error, peer = %peer.0, "response not completed");
        }
    }

    /// Passes one stream of the connection to the hub as a socket.
    fn open(
        self,
        (stream, admission): (NewStream, Admission),
        response: Response,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), Broken> {
        let mut response = response.map(drop);
        // It is the length of the placeholder body.
        response.headers_mut().remove(CONTENT_LENGTH);
        let out = respond.send_response(response, false)?;
        let mut stream_slot = self.stream_slot;
        stream_slot.carry_stream();
        let transport = Transport::plain(StreamSocket::new(out, stream_slot));
        (self.context.open)(stream, Transport { protocol: Protocol::Http2, ..transport });
        admission.opened();
        Ok(())
    }

    async fn answer(
        &self,
        response: Response,
        head_only: bool,
        entered: Option<Permit>,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), Broken> {
        let (response, charged) = charge::response(&self.account, response);
        let (parts, mut body) = response.into_parts();
        let empty = head_only || body.is_end_stream();
        let mut out = respond.send_response(Response::from_parts(parts, ()), empty)?;
        if empty {
            return Ok(());
        }
        let sent = self.send(&mut body, &mut out).await;
        if let Err(Broken::Body(_)) = &sent {
            // A reset drops what is queued. Other responses on the connection must not delay it for ever.
            let _ = timeout(self.context.bounds.write_timeout, charge::until_flushed(&self.flushed)).await;
        }
        if sent.is_err() {
            // Nothing of the response stays queued. A client that has reset the request gets no second reset.
            out.send_reset(Reason::INTERNAL_ERROR);
        }
        // The last bytes are queued in the connection for the socket.
        [entered, charged].into_iter().flatten().for_each(|permit| self.flushed.hold(permit));
        sent
    }

    async fn send(&self, body: &mut Body, out: &mut SendStream<Bytes>) -> Result<(), Broken> {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                // Only waits.
                _ = poll_fn(|cx| out.poll_reset(cx)) => return Ok(()),
            };
            let Some(frame) = frame.transpose().map_err(Broken::Body)? else { break };
            // Responses have no trailers.
            let Ok(mut data) = frame.into_data() else { continue };
            // Of each frame: between two of them the client may have waited.
            let mut pace = Pace::new(self.context.bounds.min_rate);
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

/// Waits until the client's window and the queue have room. Returns the number of bytes.
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
    // A date has only letters, digits, commas, colons and spaces.
    HeaderValue::try_from(now).unwrap_or(HeaderValue::from_static(""))
}
