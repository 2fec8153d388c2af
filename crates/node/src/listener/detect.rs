//! Detection of the HTTP version of a clear-text connection by its first bytes.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The connection preface of HTTP/2 (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Size of the first read, in bytes. It contains most heads completely.
const FIRST_READ: usize = 1024;

/// Protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until the protocol is certain. Returns it with the bytes that were read.
///
/// # Errors
///
/// Fails if the socket cannot be read.
pub(super) async fn detect<IO: AsyncRead + Unpin>(socket: &mut IO) -> io::Result<(Protocol, BytesMut)> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    loop {
        let read = socket.read_buf(&mut first).await?;
        let known = first.len().min(PREFACE.len());
        if read == 0 || first[..known] != PREFACE[..known] {
            return Ok((Protocol::Http1, first));
        }
        if known == PREFACE.len() {
            return Ok((Protocol::Http2, first));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn the_protocol_is_detected_as_soon_as_it_is_certain_in_whatever_pieces_the_bytes_arrive() {
        for (pieces, protocol) in [
            (&[PREFACE][..], Protocol::Http2),
            (&[&PREFACE[..1], &PREFACE[1..23], b"\nmore"], Protocol::Http2),
            (&[b"G"], Protocol::Http1),
            (&[b"P", b"O"], Protocol::Http1),
            (&[&PREFACE[..23], b"\r"], Protocol::Http1),
        ] {
            let (mut client, mut server) = tokio::io::duplex(64);
            let detected = tokio::spawn(async move { detect(&mut server).await.unwrap() });
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                // Each piece arrives separately, and the client stays connected.
                tokio::task::yield_now().await;
            }
            let (got, first) = detected.await.unwrap();
            assert_eq!((got, &first[..]), (protocol, &pieces.concat()[..]));
        }
    }

    #[tokio::test]
    async fn a_client_that_closes_within_the_preface_is_http_1() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(&PREFACE[..10]).await.unwrap();
        drop(client);
        let (got, first) = detect(&mut server).await.unwrap();
        assert_eq!((got, first.len()), (Protocol::Http1, 10));
    }
}
