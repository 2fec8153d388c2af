//! A stream of an HTTP/2 connection as a socket of the hub.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fanfare_hub::stream::Socket;
use h2::{Reason, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream_slots::StreamSlot;

/// The sending half of the stream. Writes wait for the client's window; a reset, or the end of the connection, ends the
/// input. If it is dropped before the shutdown, it resets the stream and drops queued data.
#[derive(Debug)]
pub(super) struct StreamSocket {
    out: SendStream<Bytes>,
    /// Whether `END_STREAM` was sent.
    shut: bool,
    /// Counted by the connection until it is dropped.
    _stream_slot: StreamSlot,
}

impl StreamSocket {
    pub(super) fn new(out: SendStream<Bytes>, stream_slot: StreamSlot) -> Self {
        Self { out, shut: false, _stream_slot: stream_slot }
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

    /// Does nothing: the connection's task writes queued data to its socket.
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
    /// Never returns a byte: the request is complete when the hub gets the stream, which does not mean that the client is
    /// gone. Fails if the client has reset the stream or its connection is closed; ends after the shutdown.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if socket.shut {
            return Poll::Ready(Ok(()));
        }
        socket.out.poll_reset(cx).map(|reset| {
            Err(match reset {
                Ok(_) => io::ErrorKind::ConnectionReset.into(),
                // The end of the connection's input is its end.
                Err(error) => match error.get_io().map(io::Error::kind) {
                    None | Some(io::ErrorKind::UnexpectedEof) => io::ErrorKind::BrokenPipe.into(),
                    Some(kind) => kind.into(),
                },
            })
        })
    }
}
