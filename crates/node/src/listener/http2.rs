//! An HTTP/2 connection (RFC 9113), with its requests and streams.
//!
//! A stream does not take over the connection, which others share. The hub gets one HTTP/2 stream of the connection as
//! its socket: the client's window limits writes, `END_STREAM` is the end, and a reset by the client closes it.
//!
//! # Layout
//!
//! - [`exchange`]: one request and its response
//! - [`body`]: the body of a request
//! - [`unread`]: memory for bodies that no handler has read yet
//! - [`socket`]: a stream as a socket of the hub
//! - [`stream_slots`]: slots of a connection and its requests, and whether the connection is idle

pub mod body;
pub mod exchange;
pub mod socket;
pub mod stream_slots;
pub mod unread;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_config::{Config, bytes};
use fanfare_hub::stream::{Socket, is_unreachable};
use h2::server::Builder;
use h2::{Ping, PingPong, Reason};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use self::body::Incoming;
use self::exchange::Exchange;
use self::stream_slots::StreamSlots;
use self::unread::{UnreadBodies, Windows};
use super::ListenerContext;
use super::slots::Slot;
use super::timeout_io::{InputSeen, TimeoutIo};
use crate::address::Peer;
use crate::http::head_size;
use crate::memory::Account;

/// Timeout for a client without open requests to close its connection after GOAWAY, once the node stops.
const FAREWELL: Duration = Duration::from_secs(1);
/// Maximum number of queued bytes of one response or stream in the connection.
const SEND_BUFFER: usize = 16 * 1024;
/// Maximum number of requests that a client resets before they are accepted; more close the connection
/// (CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// Maximum number of resets that errors of the client cause; more close the connection (CVE-2025-8671).
const LOCAL_RESETS: usize = 256;

/// Returns the settings of all connections.
pub(super) fn builder(config: &Config, windows: Windows) -> Builder {
    let mut http = Builder::new();
    // HTTP/2 adds 32 bytes for each field (RFC 9113, section 6.5.2).
    let head = bytes(config.limits.head_bytes) + head_size::BEYOND + 32 * head_size::FIELDS_READ;
    // The setting is at most 64 KiB.
    let head = u32::try_from(head).unwrap_or(u32::MAX);
    http.max_concurrent_streams(config.limits.requests_per_connection)
        .max_header_list_size(head)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_window_size(windows.body)
        .initial_connection_window_size(windows.connection)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS));
    http
}

/// Serves requests until the connection ends.
pub(super) async fn serve<IO: Socket + 'static>(
    context: Arc<ListenerContext>,
    peer: Peer,
    (slot, account): (Slot, Account),
    io: TimeoutIo<IO>,
) {
    let (input_seen, flushed, flooded) = (io.input_seen(), io.flushed(), io.flooded());
    // There is no request yet, so the connection may end immediately at the shutdown.
    let handshake = timeout(context.head_timeout, context.http2.handshake::<_, Bytes>(io));
    let mut connection = match context.stop.run_until_cancelled(handshake).await {
        None => return,
        Some(Ok(Ok(connection))) => connection,
        Some(Ok(Err(error))) => return context.ended_by(&error, peer),
        Some(Err(late)) => return context.ended_by(&late, peer),
    };
    let used = Arc::clone(slot.activity().used());
    let stream_slots = StreamSlots::new(slot);
    let unread = UnreadBodies::new(context.windows, account.clone());
    let mut ping_timeout = std::pin::pin!(ping_timeout(connection.ping_pong(), input_seen, context.ping));
    let mut goaway = std::pin::pin!(goaway_due(&context, &stream_slots));
    let mut leaving = false;
    let mut exchanges = JoinSet::new();
    loop {
        // `poll_accept` keeps no state, and the other branches borrow or restart.
        tokio::select! {
            biased;
            next = poll_fn(|cx| connection.poll_accept(cx)) => match next {
                Some(Ok((request, respond))) => {
                    let request = Incoming::admit(request, &unread);
                    let holds = (StreamSlots::enter(&stream_slots), account.clone(), flushed.clone());
                    let exchange = Exchange::new(Arc::clone(&context), peer, holds);
                    let exchange = exchange.run(request, respond);
                    exchanges.spawn(context.turns.request(Arc::clone(&used), exchange));
                }
                Some(Err(error)) => {
                    // The streams are closed with the error of a read, but not with that of a write.
                    if error.get_io().is_some_and(is_unreachable) {
                        stream_slots.time_out();
                    }
                    context.ended_by(&error, peer);
                    break;
                }
                None => break,
            },
            Some(done) = exchanges.join_next() => log_panic(done),
            () = &mut goaway, if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            () = flooded.cancelled() => {
                context.metrics.floods.inc();
                tracing::debug!(peer = %peer.0, "closing HTTP/2 connection: too many control frames");
                send_calm(&mut connection).await;
                break;
            }
            idle = stream_slots.evicted(), if !leaving => {
                if idle {
                    break;
                }
                // A request arrived meanwhile.
                leaving = true;
                connection.graceful_shutdown();
            }
            () = goaway_timeout(&context, &stream_slots), if leaving => break,
            () = &mut ping_timeout => {
                tracing::debug!(peer = %peer.0, "closing HTTP/2 connection: ping timeout");
                context.metrics.connection_errors.inc();
                stream_slots.time_out();
                break;
            }
            () = context.cut.cancelled() => break,
        }
    }
    // The remaining exchanges find their connection closed.
    drop(connection);
    exchanges.shutdown().await;
}

/// Sends GOAWAY with `ENHANCE_YOUR_CALM`, if the client reads it.
async fn send_calm<IO: Socket>(connection: &mut h2::server::Connection<TimeoutIo<IO>, Bytes>) {
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    let _ = timeout(FAREWELL, poll_fn(|cx| connection.poll_closed(cx))).await;
}

/// Waits until GOAWAY must be sent, so that the client opens another connection for its next request.
async fn goaway_due(context: &ListenerContext, stream_slots: &StreamSlots) {
    // A client that connects during the drain gets GOAWAY with the response to its request.
    let draining = async {
        context.goaway.cancelled().await;
        stream_slots.begun().await;
    };
    // All branches only wait.
    tokio::select! {
        () = draining => {}
        () = context.stop.cancelled() => {}
        () = stream_slots.crowded() => {}
        () = stream_slots.idle(context.head_timeout) => {}
    }
}

/// Waits until a client had no open request for too long after GOAWAY. A client that does not close its connection must
/// not delay the shutdown.
async fn goaway_timeout(context: &ListenerContext, stream_slots: &StreamSlots) {
    let stopped = async {
        context.stop.cancelled().await;
        stream_slots.idle(FAREWELL).await;
    };
    // Both branches only wait.
    tokio::select! {
        () = stopped => {}
        () = stream_slots.idle(context.head_timeout) => {}
    }
}

/// Waits until the peer times out: no input arrived within the timeout, not even the reply to a ping. TCP detects a
/// machine that is gone; this detects a process that hangs. The reply of a slow client may be queued behind data that
/// the client has not read yet, so any frame counts.
async fn ping_timeout(
    pings: Option<PingPong>,
    input_seen: InputSeen,
    (quiet, patience): (Duration, Duration),
) {
    // h2 returns it once, to this call.
    let Some(mut pings) = pings else { return std::future::pending().await };
    let mut waiting = false;
    loop {
        sleep(quiet).await;
        if input_seen.take() {
            continue;
        }
        // An earlier ping without a reply counts, too.
        waiting |= pings.send_ping(Ping::opaque()).is_ok();
        match timeout(patience, poll_fn(|cx| pings.poll_pong(cx))).await {
            Ok(Ok(_)) => waiting = false,
            Err(_) if input_seen.take() || !waiting => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

fn log_panic(done: Result<(), JoinError>) {
    if let Err(error) = done {
        tracing::error!(%error, "HTTP/2 response task panicked");
    }
}

#[cfg(test)]
mod tests;
