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
    stream_slot: StreamSlot,
}

impl StreamSocket {
    pub(super) fn new(out: SendStream<Bytes>, stream_slot: StreamSlot) -> Self {
        Self { out, shut: false, stream_slot }
    }

    /// Returns why nothing can be written: the client has reset the stream, or how its connection ended.
    fn write_error(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.out.poll_reset(cx) {
            Poll::Ready(reset) => self.close_error(reset),
            Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }

    /// Returns the error of a stream that the client has reset, or of its connection. The kind of an error of the
    /// connection's socket shows whether the client's machine stopped responding.
    fn close_error(&self, reset: Result<Reason, h2::Error>) -> io::Error {
        match reset.map_err(|error| error.get_io().map(io::Error::kind)) {
            Ok(_) => io::ErrorKind::ConnectionReset.into(),
            // The ping timeout closes the connection as the end of its input does.
            Err(_) if self.stream_slot.timed_out() => io::ErrorKind::TimedOut.into(),
            // The end of the connection's input is its end.
            Err(None | Some(io::ErrorKind::UnexpectedEof)) => io::ErrorKind::BrokenPipe.into(),
            Err(Some(kind)) => kind.into(),
        }
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
        let socket = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        socket.out.reserve_capacity(bytes.len());
        while socket.out.capacity() == 0 {
            if !matches!(ready!(socket.out.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(Err(socket.write_error(cx)));
            }
        }
        let n = socket.out.capacity().min(bytes.len());
        match socket.out.send_data(Bytes::copy_from_slice(&bytes[..n]), false) {
            Ok(()) => Poll::Ready(Ok(n)),
            Err(_) => Poll::Ready(Err(socket.write_error(cx))),
        }
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
        socket.out.poll_reset(cx).map(|reset| Err(socket.close_error(reset)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use fanfare_config::limits::LimitsConfig;
    use prometheus_client::registry::Registry;
    use tokio::io::DuplexStream;

    use super::super::stream_slots::StreamSlots;
    use super::*;
    use crate::http::metrics::HttpMetrics;
    use crate::listener::slots::Slots;
    use crate::memory::Memory;

    /// A connection whose socket fails as that of a peer that the kernel gave up, once `gone` is notified.
    struct Dying {
        socket: DuplexStream,
        gone: Pin<Box<dyn Future<Output = ()> + Send>>,
    }

    impl AsyncRead for Dying {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match self.gone.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Pin::new(&mut self.socket).poll_read(cx, buffer),
            }
        }
    }

    impl AsyncWrite for Dying {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.socket).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.socket).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.socket).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn a_stream_of_a_dead_peer_says_so_when_it_is_read_and_when_it_is_written() {
        let (client, socket) = tokio::io::duplex(64 * 1024);
        let (dies, gone) = tokio::sync::oneshot::channel::<()>();
        let gone = Box::pin(async move {
            let _ = gone.await;
        });
        let client = tokio::spawn(async move {
            let (mut requests, connection) = h2::client::handshake(client).await.unwrap();
            let driver = tokio::spawn(connection);
            let request = http::Request::get("http://a/").body(()).unwrap();
            let (response, _) = requests.send_request(request, true).unwrap();
            let body = response.await.unwrap().into_body();
            let _ = driver.await;
            drop(body);
        });
        let mut connection = h2::server::handshake(Dying { socket, gone }).await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let out = respond.send_response(http::Response::new(()), false).unwrap();
        let slots = Slots::new(&LimitsConfig::default(), HttpMetrics::register(&mut Registry::default()));
        let slot = slots.enter(None, &Memory::new(1 << 40).account(None)).unwrap();
        let mut stream = StreamSocket::new(out, StreamSlots::enter(&StreamSlots::new(slot)));
        dies.send(()).unwrap();
        while connection.accept().await.is_some_and(|accepted| accepted.is_ok()) {}
        let mut buffer = ReadBuf::uninit(&mut []);
        let read = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buffer)).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let written = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, b"x")).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        client.abort();
    }
}
