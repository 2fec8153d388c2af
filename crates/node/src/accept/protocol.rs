//! Which HTTP a client speaks, where nothing but its first bytes tells.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What every client sends first on HTTP/2 (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is read at first: most heads are whole in it.
const FIRST_READ: usize = 1024;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Reads until one of the two is certain. The bytes that were read are given on.
///
/// # Errors
///
/// When the socket cannot be read.
pub(super) async fn tell<IO: AsyncRead + Unpin>(socket: &mut IO) -> io::Result<(Protocol, BytesMut)> {
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
    async fn it_is_told_as_soon_as_it_is_certain_however_the_bytes_come() {
        for (pieces, protocol) in [
            (&[PREFACE][..], Protocol::Http2),
            (&[&PREFACE[..1], &PREFACE[1..23], b"\nmore"], Protocol::Http2),
            (&[b"G"], Protocol::Http1),
            (&[b"P", b"O"], Protocol::Http1),
            (&[&PREFACE[..23], b"\r"], Protocol::Http1),
        ] {
            let (mut client, mut server) = tokio::io::duplex(64);
            let told = tokio::spawn(async move { tell(&mut server).await.unwrap() });
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                // Each arrives on its own, and the client stays: what is certain is told without an end.
                tokio::task::yield_now().await;
            }
            let (got, first) = told.await.unwrap();
            assert_eq!((got, &first[..]), (protocol, &pieces.concat()[..]));
        }
    }

    #[tokio::test]
    async fn a_client_that_ends_within_the_preface_is_left_to_http_1() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(&PREFACE[..10]).await.unwrap();
        drop(client);
        let (got, first) = tell(&mut server).await.unwrap();
        assert_eq!((got, first.len()), (Protocol::Http1, 10));
    }
}
