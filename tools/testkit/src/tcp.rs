//! TCP connections to a node, and TLS on them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;

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
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
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
pub async fn tls_handshake<IO: AsyncRead + AsyncWrite + Unpin>(
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
pub async fn certificate_of(
    certificate: &Certificate,
    at: SocketAddr,
) -> io::Result<CertificateDer<'static>> {
    let mut socket = tls_handshake(certificate, &[], connect(at, None, None).await?).await?;
    socket.shutdown().await?;
    let chain = socket.get_ref().1.peer_certificates();
    chain.and_then(|chain| chain.first()).cloned().ok_or_else(|| io::Error::other("no certificate"))
}
