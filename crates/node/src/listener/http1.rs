//! An HTTP/1.1 connection, until a stream takes over its socket.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use fanfare_config::{Config, bytes};
use fanfare_hub::stream::{Framing, Protocol, Socket, Transport};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::linger::{self, Unread};
use super::read_ahead::ReadAhead;
use super::slots::{Activity, Slot};
use super::timeout_io::{FlushState, TimeoutIo};
use super::{ListenerContext, charge, head};
use crate::address::Peer;
use crate::http::head_size;
use crate::http::takeover::Takeover;
use crate::memory::Account;

/// Maximum time for which a client that continues to send delays the shutdown.
const FAREWELL: Duration = Duration::from_secs(1);

/// A stream that takes the socket over, and the head of its response.
type Taken = (Takeover, Framing, Bytes);

/// What the requests of a connection need of it.
#[derive(Clone)]
struct Handler {
    router: Router,
    /// At most one stream is sent: the connection serves no other request after it.
    takeovers: mpsc::Sender<Taken>,
    peer: Peer,
    account: Account,
    activity: Arc<Activity>,
    flushed: FlushState,
    unread: Unread,
    ahead: ReadAhead,
}

/// Returns the settings of all connections.
pub(super) fn builder(config: &Config) -> Builder {
    let mut http = Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.http.header_read_timeout)
        // A client that has closed its sending half still waits for the response (RFC 9112, section 9.6).
        .half_close(true)
        // A head beyond the limit by less than that is refused with a reason.
        .max_buf_size(bytes(config.limits.head_bytes) + head_size::BEYOND)
        .max_headers(head_size::FIELDS_READ);
    http
}

/// Serves requests until the connection ends or a stream takes over the socket.
pub(super) async fn serve<IO: Socket + 'static>(
    context: Arc<ListenerContext>,
    peer: Peer,
    (slot, account): (Slot, Account),
    io: TimeoutIo<IO>,
) {
    let (takeovers, mut taken) = mpsc::channel(1);
    let (flushed, ahead, unread) = (io.flushed(), io.read_ahead(), Unread::default());
    let handler = Handler {
        router: context.router.clone(),
        takeovers,
        peer,
        account,
        activity: Arc::clone(slot.activity()),
        flushed: flushed.clone(),
        unread: unread.clone(),
        ahead,
    };
    let service = service_fn(move |request| handler.clone().answer(request));
    let mut http = context.http1.serve_connection(TokioIo::new(io), service);
    let mut signals = signals(&context, &slot);
    let (takeover, framing, head) = loop {
        let step = poll_fn(|cx| match Pin::new(&mut http).poll(cx) {
            Poll::Ready(result) => Poll::Ready(Err(result)),
            Poll::Pending => poll_taken(&flushed, &mut taken, cx).map(Ok),
        });
        // Both branches borrow, so no state is lost if the other one completes first.
        tokio::select! {
            biased;
            step = step => match step {
                Ok(taken) => break taken,
                Err(result) => {
                    if let Err(error) = &result {
                        context.ended_by(error, peer);
                    }
                    // hyper has also responded to a malformed head.
                    if result.map_or_else(|error| error.is_parse(), |()| unread.get()) {
                        let socket = http.into_parts().io.into_inner().into_inner();
                        Box::pin(linger(&context, &slot, socket)).await;
                    }
                    return;
                }
            },
            Some(signal) = signals.next() => match signal {
                Signal::Cut => return,
                Signal::Evicted if slot.activity().is_idle() => return,
                // A request arrived meanwhile.
                Signal::Evicted | Signal::Stop => Pin::new(&mut http).graceful_shutdown(),
            },
        }
    };
    // Input after the request is dropped: it has no meaning on a stream.
    let socket = http.into_parts().io.into_inner().into_inner();
    drop(signals);
    drop(slot);
    let protocol = if framing == Framing::Plain { Protocol::Http10 } else { Protocol::Http11 };
    if let Some((stream, admission)) = takeover.take() {
        (context.open)(stream, Transport { socket: Box::new(socket), framing, head, protocol });
        admission.opened();
    }
}

/// What ends a connection from outside.
#[derive(Clone, Copy)]
enum Signal {
    /// Another socket takes the slot.
    Evicted,
    /// The node drains.
    Stop,
    /// The node ends.
    Cut,
}

/// Returns the signals of a connection. Only those that happened are polled, while the connection is polled several times for
/// each request.
fn signals<'a>(
    context: &'a ListenerContext,
    slot: &'a Slot,
) -> FuturesUnordered<impl Future<Output = Signal> + Send + 'a> {
    let signals = [
        (slot.activity().eviction(), Signal::Evicted),
        (&context.stop, Signal::Stop),
        (&context.cut, Signal::Cut),
    ];
    signals.into_iter().map(|(token, signal)| token.cancelled().map(move |()| signal)).collect()
}

/// Keeps a socket whose sending half is closed until the client closes it, too, the socket loses its slot, or the node
/// stops.
async fn linger<IO: Socket>(context: &ListenerContext, slot: &Slot, socket: IO) {
    let stopped = async {
        context.stop.cancelled().await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = linger::discard(socket) => {}
        () = slot.activity().evicted() => {}
        () = stopped => {}
        () = context.cut.cancelled() => {}
    }
}

/// Waits for a stream that takes over the socket. The socket is taken only when hyper has written everything: otherwise
/// the response to an earlier pipelined request would be lost.
fn poll_taken(
    flushed: &FlushState,
    taken: &mut mpsc::Receiver<Taken>,
    cx: &mut std::task::Context<'_>,
) -> Poll<Taken> {
    if !flushed.get() {
        return Poll::Pending;
    }
    match taken.poll_recv(cx) {
        Poll::Ready(Some(taken)) => Poll::Ready(taken),
        // The connection ends without a stream; hyper returns how.
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    }
}

impl Handler {
    /// One request. One that opens a stream is never answered: its connection is taken from hyper meanwhile.
    async fn answer(self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        let version = request.version();
        let in_flight = self.activity.begin();
        let entered = charge::request((self.peer, &self.account), &mut request, None);
        let response =
            self.router.oneshot(request.map(|body| Body::new(self.unread.watch(body, &self.ahead)))).await?;
        let Some(takeover) = response.extensions().get::<Takeover>().cloned() else {
            let (response, charged) = charge::response(&self.account, response);
            return Ok(charge::until_sent(response, [entered, charged], &self.flushed, in_flight));
        };
        let framing = if version == Version::HTTP_10 { Framing::Plain } else { Framing::Chunked };
        // If it is not received, the connection has ended, and the stream with its claim with it.
        let _ = self.takeovers.try_send((takeover, framing, head::write(version, &response)));
        drop(response);
        pending().await
    }
}
