//! A connection that speaks HTTP/2 (RFC 9113): all its requests and streams side by side.
//!
//! A stream is not taken from its connection, since others share it. What the hub gets as its socket is one stream of
//! the connection: its window is the client's, its end is `END_STREAM`, and a reset from the client closes it.
//!
//! # Layout
//!
//! - [`exchange`]: one request and its answer
//! - [`body`]: the request's body
//! - [`socket`]: a stream as the hub sees it
//! - [`seat`]: what a connection holds of the node, and whether it does anything

pub mod body;
pub mod exchange;
pub mod seat;
pub mod socket;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::Builder;
use h2::{Ping, PingPong, Reason};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use self::exchange::Exchange;
use self::seat::Seat;
use super::Server;
use super::slots::Slot;
use super::tap::{Heard, Tap};
use crate::address::Peer;
use crate::config::{Config, bytes};
use crate::http::head_size;
use crate::memory::Account;
use crate::stream::Socket;

/// How long a client with nothing open may take to answer GOAWAY once the node has left.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much of one answer or stream may wait in the connection for the client's window, or for the socket.
const SEND_BUFFER: usize = 16 * 1024;
/// How much of one request's body a client may send ahead, and of all of a connection's.
const WINDOWS: (u32, u32) = (128 * 1024, 512 * 1024);
/// How many requests a client may take back before they were looked at; more end the connection (CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// How many requests we may have refused for faults of the client; more end the connection (CVE-2025-8671).
const LOCAL_RESETS: usize = 256;

/// How many fields a head may have, as over HTTP/1.1.
const FIELDS: usize = 100;

/// How all of them are served.
pub(super) fn builder(config: &Config) -> Builder {
    let mut http = Builder::new();
    // HTTP/2 counts 32 bytes more for each field (RFC 9113, section 6.5.2).
    let head = bytes(config.limits.head_bytes) + head_size::BEYOND + 32 * FIELDS;
    // The settings allow 64 KiB at most.
    let head = u32::try_from(head).unwrap_or(u32::MAX);
    http.max_concurrent_streams(config.limits.requests_per_connection)
        .max_header_list_size(head)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS));
    http
}

/// Serves requests until the connection ends.
pub(super) async fn serve<IO: Socket + 'static>(
    server: Arc<Server>,
    peer: Peer,
    (slot, account): (Slot, Account),
    tap: Tap<IO>,
) {
    let (heard, flushed, flooded) = (tap.heard(), tap.flushed(), tap.flooded());
    // Nothing was asked yet: on leaving it may end at once.
    let handshake = timeout(server.head_timeout, server.http2.handshake::<_, Bytes>(tap));
    let mut connection = match server.stop.run_until_cancelled(handshake).await {
        None => return,
        Some(Ok(Ok(connection))) => connection,
        Some(Ok(Err(error))) => return server.ended_by(&error, peer),
        Some(Err(late)) => return server.ended_by(&late, peer),
    };
    let seat = Seat::new(slot);
    let mut vanished = std::pin::pin!(vanished(connection.ping_pong(), heard, server.ping));
    let mut leave = std::pin::pin!(time_to_leave(&server, &seat));
    let mut leaving = false;
    let mut exchanges = JoinSet::new();
    loop {
        // `accept` keeps nothing of its own, and the others are held by reference or begin anew.
        tokio::select! {
            biased;
            next = poll_fn(|cx| connection.poll_accept(cx)) => match next {
                Some(Ok((request, respond))) => {
                    let holds = (Seat::enter(&seat), account.clone(), flushed.clone());
                    let exchange = Exchange::new(Arc::clone(&server), peer, holds);
                    exchanges.spawn(exchange.run(request, respond));
                }
                Some(Err(error)) => {
                    server.ended_by(&error, peer);
                    break;
                }
                None => break,
            },
            Some(done) = exchanges.join_next() => note(done),
            () = &mut leave, if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            () = flooded.cancelled() => {
                server.metrics.floods.inc();
                tracing::debug!(peer = %peer.0, "closing HTTP/2 connection: too many control frames");
                say_calm(&mut connection).await;
                break;
            }
            idle = seat.evicted(), if !leaving => {
                if idle {
                    break;
                }
                // A request came after all.
                leaving = true;
                connection.graceful_shutdown();
            }
            () = overstayed(&server, &seat), if leaving => break,
            () = &mut vanished => {
                tracing::debug!(peer = %peer.0, "closing HTTP/2 connection: ping timeout");
                server.metrics.connection_errors.inc();
                break;
            }
            () = server.cut.cancelled() => break,
        }
    }
    // What is left of them finds its connection gone.
    drop(connection);
    exchanges.shutdown().await;
}

/// Says why the connection ends, if the client takes it.
async fn say_calm<IO: Socket>(connection: &mut h2::server::Connection<Tap<IO>, Bytes>) {
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    let _ = timeout(FAREWELL, poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// Waits until the client should make another connection for its next request.
async fn time_to_leave(server: &Server, seat: &Seat) {
    // A client that comes while the node leaves is told so by the answer to its request.
    let told = async {
        server.leave.cancelled().await;
        seat.begun().await;
    };
    // All of them only look.
    tokio::select! {
        () = told => {}
        () = server.stop.cancelled() => {}
        () = seat.crowded() => {}
        () = seat.idle(server.head_timeout) => {}
    }
}

/// Waits until a client that was told to leave has had nothing open for too long. GOAWAY asks for an answer, and one
/// that gives none must not hold up a node that has left.
async fn overstayed(server: &Server, seat: &Seat) {
    let left = async {
        server.stop.cancelled().await;
        seat.idle(FAREWELL).await;
    };
    // Both only look.
    tokio::select! {
        () = left => {}
        () = seat.idle(server.head_timeout) => {}
    }
}

/// Waits until the peer is silent: nothing came from it, not even the answer to a ping, for the whole time that it
/// has. TCP notices a machine that is gone; this notices a process that hangs. What a slow client answers may wait
/// behind much that it has not read yet, so any frame is a sign of life.
async fn vanished(pings: Option<PingPong>, heard: Heard, (quiet, patience): (Duration, Duration)) {
    // It can be had once, and this is the once.
    let Some(mut pings) = pings else { return std::future::pending().await };
    let mut waiting = false;
    loop {
        sleep(quiet).await;
        if heard.take() {
            continue;
        }
        // One that was sent before and is not answered yet will do.
        waiting |= pings.send_ping(Ping::opaque()).is_ok();
        match timeout(patience, poll_fn(|cx| pings.poll_pong(cx))).await {
            Ok(Ok(_)) => waiting = false,
            Err(_) if heard.take() || !waiting => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

fn note(done: Result<(), JoinError>) {
    if let Err(error) = done {
        tracing::error!(%error, "HTTP/2 response task panicked");
    }
}

#[cfg(test)]
mod tests;
