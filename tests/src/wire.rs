//! How a client gets to a node: in clear text or over TLS, by a connection for each stream or by one for all.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;
use crate::http2::Http2;

/// One of the ways.
#[derive(Clone, Debug, Default)]
pub enum Wire {
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

/// A TCP connection from an address and with a receive buffer, if they are given.
///
/// # Errors
///
/// When it cannot be made.
pub async fn connect(
    to: SocketAddr,
    from: Option<Ipv4Addr>,
    receive_buffer: Option<u32>,
) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    let socket = socket.connect(to).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// TLS on a connection.
///
/// # Errors
///
/// When the other side does not speak it, or is not believed.
///
/// # Panics
///
/// Never: the name is one.
pub async fn shake_hands<IO: AsyncRead + AsyncWrite + Unpin>(
    certificate: &Certificate,
    protocols: &[&str],
    socket: IO,
) -> io::Result<TlsStream<IO>> {
    let connector = TlsConnector::from(Arc::new(certificate.client(protocols)));
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, socket).await
}

/// The certificate that a node shows now.
///
/// # Errors
///
/// When it does not listen, or is not believed.
pub async fn shown(certificate: &Certificate, at: SocketAddr) -> io::Result<CertificateDer<'static>> {
    let mut socket = shake_hands(certificate, &[], connect(at, None, None).await?).await?;
    socket.shutdown().await?;
    let chain = socket.get_ref().1.peer_certificates();
    chain.and_then(|chain| chain.first()).cloned().ok_or_else(|| io::Error::other("no certificate"))
}
