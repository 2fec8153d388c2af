//! The socket as HTTP sees it: gives back what was read too early, tells when all is written, and gives up on a client
//! that takes nothing, or less than the floor, or sends more than it may.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::frames::Meter;
use super::slots::Activity;
use crate::memory::{Account, Kind, Permit};
use crate::pace::Floor;
use crate::stream::{Socket, set_peer_timeout};

/// How many bytes of a head that is not whole yet are the connection's own; more are taken from the node's memory.
const FREE_HEAD: usize = 8 * 1024;

/// Whether everything that was to be written is written.
#[derive(Clone, Debug)]
pub(super) struct Flushed(Arc<Written>);

#[derive(Debug)]
struct Written {
    all: AtomicBool,
    /// Whether there are `permits`.
    holds: AtomicBool,
    /// Of answers that are on their way to the socket.
    permits: Mutex<Vec<Permit>>,
}

impl Flushed {
    fn new() -> Self {
        let (all, holds) = (AtomicBool::new(true), AtomicBool::new(false));
        Self(Arc::new(Written { all, holds, permits: Mutex::default() }))
    }

    pub(super) fn get(&self) -> bool {
        self.0.all.load(Ordering::Relaxed)
    }

    /// Keeps the permit of an answer that is with HTTP, until everything is written.
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

/// Whether anything was read since it was asked last.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    pub(super) fn take(&self) -> bool {
        // Set and read on one task.
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A socket in HTTP's hands.
#[derive(Debug)]
pub(super) struct Tap<IO> {
    socket: IO,
    /// Read before it was known who is to read it.
    first: BytesMut,
    flushed: Flushed,
    heard: Heard,
    activity: Arc<Activity>,
    bounds: Bounds,
    /// Counts the frames of an HTTP/2 client.
    meter: Option<Meter>,
    /// Bytes of an HTTP/1.1 head that came and is not whole yet.
    head: usize,
    /// For a head that is large.
    head_permit: Permit,
    /// Whether the kernel's time-out is off, since the client was slow.
    tolerant: bool,
    /// Runs while the client takes nothing although something waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs while something waits, and how many bytes were taken since it began.
    slow: Option<(Pin<Box<Sleep>>, usize)>,
}

/// How long and how slow a client may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How long it may take nothing.
    pub(super) write_timeout: Duration,
    /// How long it may leave bytes unacknowledged.
    pub(super) peer_timeout: Duration,
    /// How slowly it may take an answer.
    pub(super) floor: Floor,
}

impl<IO> Tap<IO> {
    /// A socket of which `first` was read already.
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
            flushed: Flushed::new(),
            heard: Heard::default(),
            activity,
            bounds,
            meter,
            head: 0,
            head_permit: account.permit(Kind::Requests),
            tolerant: false,
            stalled: None,
            slow: None,
        }
    }

    /// Tells from outside.
    pub(super) fn flushed(&self) -> Flushed {
        self.flushed.clone()
    }

    /// Is cancelled when an HTTP/2 client has sent too many control frames; never for others.
    pub(super) fn flooded(&self) -> CancellationToken {
        self.meter.as_ref().map(Meter::flooded).unwrap_or_default()
    }

    /// Tells from outside.
    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }
}

impl<IO> Tap<IO> {
    /// Bytes that the client sent.
    ///
    /// # Errors
    ///
    /// When the head that they are part of finds no room in the node's memory.
    fn received(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.heard.0.store(true, Ordering::Relaxed);
        self.activity.heard();
        if let Some(meter) = &mut self.meter {
            meter.read(bytes);
            self.head = meter.open_head();
        } else if self.activity.is_idle() {
            self.head += bytes.len();
        } else {
            self.head = 0;
        }
        if self.head <= FREE_HEAD {
            self.head_permit.clear();
            return Ok(());
        }
        let more = self.head.saturating_sub(self.head_permit.bytes());
        self.head_permit.grow(more).map_err(|no_room| io::Error::new(io::ErrorKind::OutOfMemory, no_room))
    }
}

impl<IO: Socket> Tap<IO> {
    pub(super) fn into_inner(self) -> IO {
        if self.tolerant {
            set_peer_timeout(&self.socket, Some(self.bounds.peer_timeout));
        }
        self.socket
    }

    /// Bytes that the socket took.
    fn wrote(&mut self, bytes: usize) {
        if let Some((_, taken)) = &mut self.slow {
            *taken += bytes;
        }
        if let Some(meter) = &mut self.meter {
            meter.wrote(bytes);
        }
    }

    /// Fails what has waited too long. A slow client has the write time-out and the floor alone from then on, until a stream
    /// takes the socket; that an HTTP/2 client is still there, PING tells.
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

    /// Whether a client that something waits for takes less than the floor. A stream's client may be as slow as it is: the
    /// hub looks after it.
    fn is_too_slow(&mut self, cx: &mut Context<'_>) -> bool {
        let floor = self.bounds.floor;
        loop {
            let begin = || (Box::pin(sleep_until(Instant::now() + floor.period)), 0);
            let (period, taken) = self.slow.get_or_insert_with(begin);
            if period.as_mut().poll(cx).is_pending() {
                return false;
            }
            if !floor.is_met(*taken) && !self.activity.carries_stream() {
                return true;
            }
            self.slow = None;
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Tap<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        if tap.meter.as_ref().is_some_and(Meter::is_flooded) {
            // Nothing more is heard from it: its connection is about to end.
            return Poll::Pending;
        }
        if tap.first.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut tap.socket).poll_read(cx, buf);
            if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
                tap.received(bytes)?;
            }
            return read;
        }
        let n = tap.first.len().min(buf.remaining());
        buf.put_slice(&tap.first[..n]);
        let first = std::mem::take(&mut tap.first);
        let received = tap.received(&first[..n]);
        tap.first = first;
        tap.first.advance(n);
        received?;
        if tap.first.is_empty() {
            // An idle connection keeps no buffer for it.
            tap.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: Socket> AsyncWrite for Tap<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let tap = self.get_mut();
        tap.flushed.set(false);
        let written = Pin::new(&mut tap.socket).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = written {
            tap.wrote(bytes);
        }
        tap.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tap = self.get_mut();
        tap.flushed.set(false);
        let written = Pin::new(&mut tap.socket).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(bytes)) = written {
            tap.wrote(bytes);
        }
        tap.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// hyper flushes the socket only after its own buffer is empty. A socket that buffers, as with TLS, may wait here
    /// for the client.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let flushed = Pin::new(&mut tap.socket).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            tap.flushed.set(true);
            tap.slow = None;
        }
        tap.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let shut = Pin::new(&mut tap.socket).poll_shutdown(cx);
        tap.watch(cx, shut)
    }
}
