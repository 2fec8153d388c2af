//! A stream of an HTTP/2 connection as the hub sees it: a socket like any other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::stream::Socket;
use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::seat::Place;

/// Our side of the stream. Writes wait for the client's window; a reset, or the connection's end, is the end of what
/// can be read. Dropped before it was shut down, it resets the stream and takes back what still waits.
#[derive(Debug)]
pub(super) struct StreamSocket {
    out: SendStream<Bytes>,
    /// Whether `END_STREAM` was said.
    shut: bool,
    /// The connection counts it until it is dropped.
    _place: Place,
}

impl StreamSocket {
    pub(super) fn new(out: SendStream<Bytes>, place: Place) -> Self {
        Self { out, shut: false, _place: place }
    }
}

impl Socket for StreamSocket {}

impl Drop for StreamSocket {
    fn drop(&mut self) {
        if !self.shut {
            self.out.send_reset(Reason::CANCEL);
        }
    }
}

impl AsyncWrite for StreamSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let out = &mut self.get_mut().out;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        out.reserve_capacity(bytes.len());
        while out.capacity() == 0 {
            match ready!(out.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let n = out.capacity().min(bytes.len());
        out.send_data(Bytes::copy_from_slice(&bytes[..n]), false).map_err(io::Error::other)?;
        Poll::Ready(Ok(n))
    }

    /// What was written is with the connection, whose own task writes it on.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends the stream cleanly.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if std::mem::replace(&mut socket.shut, true) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(socket.out.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}

impl AsyncRead for StreamSocket {
    /// Never gives a byte: a stream's request is over when the hub gets it, which is no sign that the client is gone. An
    /// error when the client has taken the stream back or its connection is gone; ends when we have ended it.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if socket.shut {
            return Poll::Ready(Ok(()));
        }
        socket.out.poll_reset(cx).map(|reset| {
            Err(match reset {
                Ok(_) => io::ErrorKind::ConnectionReset.into(),
                // The end of input of the whole connection is its end.
                Err(error) => match error.get_io().map(io::Error::kind) {
                    None | Some(io::ErrorKind::UnexpectedEof) => io::ErrorKind::BrokenPipe.into(),
                    Some(kind) => kind.into(),
                },
            })
        })
    }
}
