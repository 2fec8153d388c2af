//! The socket of an HTTP connection, with a write timeout, a minimum rate, and limits of the input.
//!
//! It also returns the bytes that were read for the detection of the protocol, and reports when all data is written.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use fanfare_hub::stream::{Socket, set_peer_timeout};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::frames::Meter;
use super::read_ahead::{ReadAhead, Requests};
use super::slots::Activity;
use crate::memory::{Account, Permit};
use crate::pace::MinRate;

/// Whether all data is written.
#[derive(Clone, Debug)]
pub(super) struct FlushState(Arc<FlushInner>);

#[derive(Debug)]
struct FlushInner {
    all: AtomicBool,
    /// Whether `permits` is not empty.
    holds: AtomicBool,
    /// Permits of responses that are not written yet.
    permits: Mutex<Vec<Permit>>,
}

impl FlushState {
    fn new() -> Self {
        let (all, holds) = (AtomicBool::new(true), AtomicBool::new(false));
        Self(Arc::new(FlushInner { all, holds, permits: Mutex::default() }))
    }

    pub(super) fn get(&self) -> bool {
        self.0.all.load(Ordering::Relaxed)
    }

    /// Keeps the permit of a response until all data is written.
    pub(super) fn hold(&self, permit: Permit) {
        let mut permits = self.0.permits.lock().unwrap_or_else(PoisonError::into_inner);
        permits.push(permit);
        self.0.holds.store(true, Ordering::Release);
    }

    fn set(&self, flushed: bool) {
        self.0.all.store(flushed, Ordering::Relaxed);
        if flushed && self.0.holds.swap(false, Ordering::Acquire) {
            self.0.permits.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

/// Whether input arrived since the last check.
#[derive(Clone, Debug, Default)]
pub(super) struct InputSeen(Arc<AtomicBool>);

impl InputSeen {
    pub(super) fn take(&self) -> bool {
        // Set and read by one task.
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The socket of an HTTP connection.
#[derive(Debug)]
pub(super) struct TimeoutIo<IO> {
    socket: IO,
    /// Bytes that were read for the detection of the protocol.
    first: BytesMut,
    flushed: FlushState,
    input_seen: InputSeen,
    activity: Arc<Activity>,
    bounds: Bounds,
    /// Counts the frames of an HTTP/2 client.
    meter: Option<Meter>,
    /// Bytes that HTTP has read and no request has taken yet.
    ahead: ReadAhead,
    /// Whether the kernel's timeout is disabled because the client was slow.
    tolerant: bool,
    /// Write timeout. Runs while the socket is full and accepts nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Period of the minimum rate, which runs while data is queued, and the number of bytes accepted in it.
    slow: Option<(Pin<Box<Sleep>>, usize)>,
}

/// Timeouts and the minimum rate of clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Maximum time without progress of a write.
    pub(super) write_timeout: Duration,
    /// Maximum time for which bytes are unacknowledged.
    pub(super) peer_timeout: Duration,
    /// Minimum rate at which a response is read.
    pub(super) min_rate: MinRate,
}

impl<IO> TimeoutIo<IO> {
    /// Wraps a socket from which `first` was read already.
    pub(super) fn new(
        socket: IO,
        first: BytesMut,
        (activity, account): (Arc<Activity>, &Account),
        meter: Option<Meter>,
        bounds: Bounds,
    ) -> Self {
        Self {
            socket,
            first,
            flushed: FlushState::new(),
            input_seen: InputSeen::default(),
            activity,
            bounds,
            meter,
            ahead: ReadAhead::new(account),
            tolerant: false,
            stalled: None,
            slow: None,
        }
    }

    /// Returns a handle that reports whether all data is written.
    pub(super) fn flushed(&self) -> FlushState {
        self.flushed.clone()
    }

    /// Returns the input read ahead, for the bodies of requests.
    pub(super) fn read_ahead(&self) -> ReadAhead {
        self.ahead.clone()
    }

    /// Returns a token that is cancelled when an HTTP/2 client has sent too many control frames; never for HTTP/1.1.
    pub(super) fn flooded(&self) -> CancellationToken {
        self.meter.as_ref().map(Meter::flooded).unwrap_or_default()
    }

    /// Returns a handle that reports whether input arrived.
    pub(super) fn input_seen(&self) -> InputSeen {
        self.input_seen.clone()
    }
}

impl<IO> TimeoutIo<IO> {
    /// Counts received bytes.
    ///
    /// # Errors
    ///
    /// Fails if there is no memory for bytes read ahead.
    fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input_seen.0.store(true, Ordering::Relaxed);
        self.activity.touch();
        self.activity.used().moved(bytes.len());
        let counted = if let Some(meter) = &mut self.meter {
            meter.read(bytes);
            self.ahead.set(meter.open_head())
        } else {
            let requests = match (self.activity.is_idle(), self.activity.take_begun()) {
                (false, _) => Requests::InFlight,
                (true, true) => Requests::Ended,
                (true, false) => Requests::None,
            };
            self.ahead.read(bytes.len(), requests)
        };
        counted.map_err(|no_room| io::Error::new(io::ErrorKind::OutOfMemory, no_room))
    }
}

impl<IO: Socket> TimeoutIo<IO> {
    pub(super) fn into_inner(self) -> IO {
        if self.tolerant {
            set_peer_timeout(&self.socket, Some(self.bounds.peer_timeout));
        }
        self.socket
    }

    /// Counts bytes that the socket accepted.
    fn wrote(&mut self, bytes: usize) {
        self.activity.used().moved(bytes);
        if let Some((_, taken)) = &mut self.slow {
            *taken += bytes;
        }
        if let Some(meter) = &mut self.meter {
            meter.wrote(bytes);
        }
    }

    /// Fails a write that waits for too long. From then on only the write timeout and the minimum rate apply to the slow
    /// client, until a stream takes over the socket; PING detects an HTTP/2 client that vanished.
    fn watch<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        if !std::mem::replace(&mut self.tolerant, true) {
            set_peer_timeout(&self.socket, None);
        }
        let timeout = self.bounds.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + timeout)));
        if stalled.as_mut().poll(cx).is_ready() || self.is_too_slow(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    /// Returns whether the client reads queued data below the minimum rate. The rate does not apply to streams, for which
    /// the hub handles slow clients.
    fn is_too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        let min_rate = self.bounds.min_rate;
        loop {
            let begin = || (Box::pin(sleep_until(Instant::now() + min_rate.period)), 0);
            let (period, taken) = self.slow.get_or_insert_with(begin);
            if period.as_mut().poll(cx).is_pending() {
                return false;
            }
            if !min_rate.is_met(*taken) && !self.activity.carries_stream() {
                return true;
            }
            self.slow = None;
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for TimeoutIo<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.as_ref().is_some_and(Meter::is_flooded) {
            // No more input is read: the connection is about to end.
            return Poll::Pending;
        }
        if this.first.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut this.socket).poll_read(cx, buf);
            if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
                this.received(bytes)?;
            }
            return read;
        }
        let n = this.first.len().min(buf.remaining());
        buf.put_slice(&this.first[..n]);
        let first = std::mem::take(&mut this.first);
        let received = this.received(&first[..n]);
        this.first = first;
        this.first.advance(n);
        received?;
        if this.first.is_empty() {
            // Frees the buffer.
            this.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: Socket> AsyncWrite for TimeoutIo<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.flushed.set(false);
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = written {
            this.wrote(bytes);
        }
        this.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.flushed.set(false);
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(bytes)) = written {
            this.wrote(bytes);
        }
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper flushes the socket only after its buffer is empty. A buffering socket, as with TLS, may wait here for the
    /// client.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.flushed.set(true);
            this.slow = None;
        }
        this.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.socket).poll_shutdown(cx);
        this.watch(cx, shut)
    }
}
