//! A connection that speaks HTTP/1.1, until a stream takes its socket over.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::linger::{self, Unread};
use super::slots::{Activity, Slot};
use super::tap::{Flushed, Tap};
use super::{Server, answer, head};
use crate::address::Peer;
use crate::config::{Config, bytes};
use crate::http::handover::{Handover, Parcel};
use crate::http::head_size;
use crate::memory::Account;
use crate::stream::{Framing, Socket};

/// How long a client that sends on may delay a node that stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// A stream that wants the socket, and the response that its handler gave.
struct Taking {
    parcel: Parcel,
    version: Version,
    response: Response,
}

/// Where a request leaves what it wants the socket for. Once: the connection serves no other request then.
type Desk = Arc<Mutex<Option<oneshot::Sender<Taking>>>>;

/// What the requests of a connection need of it.
#[derive(Clone)]
struct Handler {
    router: Router,
    desk: Desk,
    peer: Peer,
    account: Account,
    activity: Arc<Activity>,
    flushed: Flushed,
    unread: Unread,
}

/// How all of them are served.
pub(super) fn builder(config: &Config) -> Builder {
    let mut http = Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.http.header_read_timeout)
        // A client that has closed its sending half still wants its answer (RFC 9112, section 9.6).
        .half_close(true)
        // What is beyond the limit by less than that is refused with a reason.
        .max_buf_size(bytes(config.limits.head_bytes) + head_size::BEYOND);
    http
}

/// Serves requests until the connection ends or a stream takes the socket.
pub(super) async fn serve<IO: Socket + 'static>(
    server: Arc<Server>,
    peer: Peer,
    (slot, account): (Slot, Account),
    tap: Tap<IO>,
) {
    let (sender, mut taking) = oneshot::channel();
    let (flushed, unread) = (tap.flushed(), Unread::default());
    let handler = Handler {
        router: server.router.clone(),
        desk: Arc::new(Mutex::new(Some(sender))),
        peer,
        account,
        activity: Arc::clone(slot.activity()),
        flushed: flushed.clone(),
        unread: unread.clone(),
    };
    let service = service_fn(move |request| handler.clone().answer(request));
    let mut http = server.http1.serve_connection(TokioIo::new(tap), service);
    let mut leaving = false;
    let taken = loop {
        let step = poll_fn(|cx| match Pin::new(&mut http).poll(cx) {
            Poll::Ready(result) => Poll::Ready(Err(result)),
            Poll::Pending => poll_taking(&flushed, &mut taking, cx).map(Ok),
        });
        // All by reference, so nothing is lost when another branch is first.
        tokio::select! {
            biased;
            step = step => match step {
                Ok(taken) => break taken,
                Err(result) => {
                    if let Err(error) = &result {
                        server.ended_by(error, peer);
                    }
                    // A head that is not HTTP was answered as well.
                    if result.map_or_else(|error| error.is_parse(), |()| unread.get()) {
                        let socket = http.into_parts().io.into_inner().into_inner();
                        Box::pin(linger(&server, &slot, socket)).await;
                    }
                    return;
                }
            },
            () = slot.activity().evicted(), if !leaving => {
                if slot.activity().is_idle() {
                    return;
                }
                // A request came after all.
                leaving = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            () = server.stop.cancelled(), if !leaving => {
                leaving = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            () = server.cut.cancelled() => return,
        }
    };
    // What the client sent after its request is dropped: on a stream it has nothing to say.
    let socket = http.into_parts().io.into_inner().into_inner();
    let Taking { parcel: Parcel { mut stream, opening }, version, response } = taken;
    stream.framing = if version == Version::HTTP_10 { Framing::Plain } else { Framing::Chunked };
    stream.head = head::write(version, &response);
    drop((slot, response));
    (server.open)(stream, Box::new(socket));
    // The hub counts it from here on.
    drop(opening);
}

/// Keeps a socket whose sending half is closed until the client has closed it too, unless its slot is given to another or the
/// node stops.
async fn linger<IO: Socket>(server: &Server, slot: &Slot, socket: IO) {
    let stopped = async {
        server.stop.cancelled().await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = linger::discard(socket) => {}
        () = slot.activity().evicted() => {}
        () = stopped => {}
        () = server.cut.cancelled() => {}
    }
}

/// A socket is taken only when everything that hyper had to write before is written: an answer to a request that was
/// sent ahead of the stream's would be lost otherwise.
fn poll_taking(
    flushed: &Flushed,
    taking: &mut oneshot::Receiver<Taking>,
    cx: &mut std::task::Context<'_>,
) -> Poll<Taking> {
    if !flushed.get() {
        return Poll::Pending;
    }
    match Pin::new(taking).poll(cx) {
        Poll::Ready(Ok(taken)) => Poll::Ready(taken),
        // Nobody will take it any more; hyper says how it ends.
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
    }
}

impl Handler {
    /// One request. One that opens a stream is never answered: its connection is taken from hyper meanwhile.
    async fn answer(self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        let version = request.version();
        let in_hand = self.activity.begin();
        let entered = answer::enter(&self.account, &mut request);
        request.extensions_mut().insert(self.peer);
        let response = self.router.oneshot(request.map(|body| Body::new(self.unread.watch(body)))).await?;
        let Some(parcel) = response.extensions().get::<Handover>().and_then(Handover::take) else {
            let (response, charged) = answer::charge(&self.account, response);
            return Ok(answer::hold(response, [entered, charged], &self.flushed, in_hand));
        };
        let sender = self.desk.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // If nobody takes it, the connection has ended, and the parcel with its claim with it.
            let _ = sender.send(Taking { parcel, version, response });
        }
        pending().await
    }
}
