//! The PROXY protocol header, version 2, with which a TCP balancer sends the client's address
//! (<https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>).

use std::io;
use std::net::SocketAddr;

use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Length of the fixed part, which contains the length of the rest.
const FIXED: usize = 16;
/// Maximum length of the rest: addresses, and TLS information.
const MAX_REST: usize = 4096;

/// Reads the header at the beginning of a connection, and nothing beyond it. Returns the address of the client, or `None`
/// for the balancer's own connections, such as health checks, and for an unknown address.
///
/// # Errors
///
/// Fails if the connection ends, or does not begin with a header.
pub(super) async fn read<IO: AsyncRead + Unpin>(socket: &mut IO) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; FIXED];
    // The signature first: an HTTP client is refused without waiting for more input.
    let (signature, rest) = header.split_at_mut(PROTOCOL_PREFIX.len());
    socket.read_exact(signature).await?;
    if signature != PROTOCOL_PREFIX {
        return Err(invalid("the connection does not begin with a PROXY protocol v2 header"));
    }
    socket.read_exact(rest).await?;
    let length = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
    if length > MAX_REST {
        return Err(invalid("the PROXY protocol header is too long"));
    }
    header.resize(FIXED + length, 0);
    socket.read_exact(&mut header[FIXED..]).await?;
    let header = Header::try_from(&header[..]).map_err(|error| invalid(&error.to_string()))?;
    Ok(match (header.command, header.addresses) {
        (Command::Proxy, Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (Command::Proxy, Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        (Command::Local, _) | (Command::Proxy, Addresses::Unspecified | Addresses::Unix(_)) => None,
    })
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a header with a command, a family and transport, and the rest.
    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    const IPV4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0xd4, 0x31, 0x1f, 0x90];

    async fn read_all(bytes: &[u8]) -> (Result<Option<String>, String>, usize) {
        let mut rest = bytes;
        let result = read(&mut rest).await;
        (result.map(|found| found.map(|addr| addr.to_string())).map_err(|e| e.to_string()), rest.len())
    }

    #[tokio::test]
    async fn the_header_names_the_client_and_later_input_is_not_read() {
        let mut ipv6 = [0; 36];
        ipv6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        ipv6[32..34].copy_from_slice(&443u16.to_be_bytes());
        let with_tlv = [&IPV4[..], &[4, 0, 1, 42]].concat();
        for (bytes, client) in [
            (header(0x21, 0x11, &IPV4), Some("203.0.113.7:54321")),
            (header(0x21, 0x11, &with_tlv), Some("203.0.113.7:54321")),
            (header(0x21, 0x21, &ipv6), Some("[2001:db8::7]:443")),
            (header(0x20, 0x11, &IPV4), None),
            (header(0x20, 0x00, &[]), None),
            (header(0x21, 0x00, &[]), None),
        ] {
            let (found, left) = read_all(&[&bytes[..], b"GET / HTTP/1.1\r\n"].concat()).await;
            assert_eq!((found.unwrap().as_deref(), left), (client, 16), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_begins_with_other_input_is_refused() {
        let whole = header(0x21, 0x11, &IPV4);
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            header(0x11, 0x11, &IPV4),
            header(0x22, 0x11, &IPV4),
            header(0x21, 0x11, &IPV4[..11]),
            header(0x21, 0x21, &IPV4),
            header(0x21, 0x51, &IPV4),
            header(0x21, 0x11, &[0; MAX_REST + 1]),
            whole[..whole.len() - 1].to_vec(),
            whole[..14].to_vec(),
            Vec::new(),
        ] {
            let (found, _) = read_all(&bytes).await;
            assert!(found.is_err(), "{bytes:?}: {found:?}");
        }
    }
}
