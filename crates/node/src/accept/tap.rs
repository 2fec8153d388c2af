//! The socket as HTTP sees it: gives back what was read too early, tells when all is written, and gives up on a client
//! that takes nothing.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::stream::{Socket, set_peer_timeout};

/// Whether everything that was to be written is written.
#[derive(Clone, Debug)]
pub(super) struct Flushed(Arc<AtomicBool>);

impl Flushed {
    pub(super) fn get(&self) -> bool {
        // Set and read on one task.
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, flushed: bool) {
        self.0.store(flushed, Ordering::Relaxed);
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
    write_timeout: Duration,
    peer_timeout: Duration,
    /// Whether the kernel's time-out is off, since the client was slow.
    tolerant: bool,
    /// Runs while the client takes nothing although something waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<IO> Tap<IO> {
    /// A socket of which `first` was read already.
    pub(super) fn new(
        socket: IO,
        first: BytesMut,
        (write_timeout, peer_timeout): (Duration, Duration),
    ) -> Self {
        let flushed = Flushed(Arc::new(AtomicBool::new(true)));
        Self {
            socket,
            first,
            flushed,
            heard: Heard::default(),
            write_timeout,
            peer_timeout,
            tolerant: false,
            stalled: None,
        }
    }

    /// Tells from outside.
    pub(super) fn flushed(&self) -> Flushed {
        self.flushed.clone()
    }

    /// Tells from outside.
    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }
}

impl<IO: Socket> Tap<IO> {
    pub(super) fn into_inner(self) -> IO {
        if self.tolerant {
            set_peer_timeout(&self.socket, Some(self.peer_timeout));
        }
        self.socket
    }

    /// Fails what has waited too long. A slow client has the write time-out alone from then on, until a stream takes the
    /// socket; that an HTTP/2 client is still there, PING tells.
    fn watch<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        if !std::mem::replace(&mut self.tolerant, true) {
            set_peer_timeout(&self.socket, None);
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + timeout)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Tap<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        if tap.first.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut tap.socket).poll_read(cx, buf);
            if buf.filled().len() > before {
                tap.heard.0.store(true, Ordering::Relaxed);
            }
            return read;
        }
        let n = tap.first.len().min(buf.remaining());
        buf.put_slice(&tap.first[..n]);
        tap.first.advance(n);
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
        }
        tap.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let shut = Pin::new(&mut tap.socket).poll_shutdown(cx);
        tap.watch(cx, shut)
    }
}
