//! How a client gets to a node: in clear text or over TLS, by a connection for each stream or by one for all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;
use crate::http2::Http2;

/// One of the ways.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// HTTP/1.1 in clear text.
    #[default]
    Clear,
    /// HTTP/1.1 over TLS.
    Tls(Certificate),
    /// HTTP/2, in clear text or over TLS.
    Http2(Http2),
}

/// What a stream is read from.
#[derive(Debug)]
pub(crate) enum Socket {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A stream of a shared connection, translated.
    Http2(DuplexStream),
}

impl Socket {
    /// Makes the close to come a reset. A stream of a shared connection is reset in any case.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Self::Clear(socket) => socket.set_zero_linger(),
            Self::Tls(socket) => socket.get_ref().0.set_zero_linger(),
            Self::Http2(_) => Ok(()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Http2(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}
