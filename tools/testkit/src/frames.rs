//! An HTTP/2 client that sends what frames it likes (RFC 9113): one that h2 would not let be written.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::deadline::SOON;
use crate::tcp;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The type of a frame.
pub type Kind = u8;
/// DATA.
pub const DATA: Kind = 0;
/// HEADERS.
pub const HEADERS: Kind = 1;
/// PRIORITY.
pub const PRIORITY: Kind = 2;
/// `RST_STREAM`.
pub const RST_STREAM: Kind = 3;
/// SETTINGS.
pub const SETTINGS: Kind = 4;
/// PING.
pub const PING: Kind = 6;
/// GOAWAY.
pub const GOAWAY: Kind = 7;
/// `WINDOW_UPDATE`.
pub const WINDOW_UPDATE: Kind = 8;
/// CONTINUATION.
pub const CONTINUATION: Kind = 9;

/// The flag of the last frame of a request.
pub const END_STREAM: u8 = 1;
/// The flag of an answer to SETTINGS or PING.
pub const ACK: u8 = 1;
/// The flag of the last frame of a head.
pub const END_HEADERS: u8 = 4;

/// `SETTINGS_HEADER_TABLE_SIZE`.
const HEADER_TABLE_SIZE: u16 = 1;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
pub const INITIAL_WINDOW: u16 = 4;
/// The error code `ENHANCE_YOUR_CALM`.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A client's connection.
#[derive(Debug)]
pub struct Frames {
    socket: TcpStream,
    /// The next request's stream.
    next: u32,
    /// What came and is no whole frame yet.
    read: Vec<u8>,
}

/// A frame's bytes.
pub fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of a test is short");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A head in HPACK without indexes and without Huffman's code (RFC 7541, section 6.2.2).
pub fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path)];
    for (name, value) in pseudo.iter().chain(headers) {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).expect("it is less than 127"));
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("a remainder") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("it is less than 128"));
}

impl Frames {
    /// Connects and says these settings.
    ///
    /// # Errors
    ///
    /// When it cannot connect.
    pub async fn connect(to: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        Self::connect_from(to, None, settings).await
    }

    /// Connects from a loopback address.
    ///
    /// # Errors
    ///
    /// When it cannot connect.
    pub async fn connect_from(
        to: SocketAddr,
        from: Option<Ipv4Addr>,
        settings: &[(u16, u32)],
    ) -> io::Result<Self> {
        let mut socket = tcp::connect(to, from, None).await?;
        // Without a table of the encoder's, each head can be read by itself.
        let payload: Vec<u8> = [(HEADER_TABLE_SIZE, 0)]
            .iter()
            .chain(settings)
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        let mut first = PREFACE.to_vec();
        first.extend(frame(SETTINGS, 0, 0, &payload));
        first.extend(frame(SETTINGS, ACK, 0, &[]));
        socket.write_all(&first).await?;
        Ok(Self { socket, next: 1, read: Vec::new() })
    }

    /// Sends bytes.
    ///
    /// # Errors
    ///
    /// When the peer has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Begins a request, and ends it if it has no body. Answers its stream.
    ///
    /// # Errors
    ///
    /// When the peer has closed.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        has_body: bool,
    ) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        let flags = END_HEADERS | if has_body { 0 } else { END_STREAM };
        let bytes = frame(HEADERS, flags, stream, &head(method, path, headers));
        self.send(&bytes).await?;
        Ok(stream)
    }

    /// The next frame; none when the peer has closed.
    ///
    /// # Panics
    ///
    /// When nothing comes.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.whole() {
                return Some(frame);
            }
            let read = timeout(SOON, self.socket.read_buf(&mut self.read)).await.expect("a frame or an end");
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    fn whole(&mut self) -> Option<Frame> {
        let length = match self.read.get(..9)? {
            [a, b, c, ..] => usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c),
            _ => return None,
        };
        let payload = self.read.get(9..9 + length)?.to_vec();
        let (kind, flags) = (self.read[3], self.read[4]);
        let stream =
            u32::from_be_bytes([self.read[5], self.read[6], self.read[7], self.read[8]]) & (u32::MAX >> 1);
        self.read.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }

    /// Reads to the end, and answers with the error of the GOAWAY that came last, if one did.
    pub async fn farewell(&mut self) -> Option<u32> {
        let mut error = None;
        while let Some(frame) = self.next().await {
            if let (GOAWAY, Some(code)) = (frame.kind, frame.payload.get(4..8)) {
                error = code.try_into().ok().map(u32::from_be_bytes);
            }
        }
        error
    }

    /// Reads the status of an answer and its body, past other streams' frames.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn answer(&mut self, stream: u32) -> (u16, Vec<u8>) {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("no answer on stream {stream}"));
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS => status = Some(status_of(&frame.payload)),
                DATA => body.extend_from_slice(&frame.payload),
                RST_STREAM => panic!("stream {stream} was reset: {:?}", frame.payload),
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 {
                return (status.expect("a head comes first"), body);
            }
        }
    }
}

/// The status of a head. It stands first: indexed, or as a literal with the index of its name (RFC 7541, appendix A).
fn status_of(block: &[u8]) -> u16 {
    // A change of the table's size may come before it.
    let at = block.iter().position(|byte| byte >> 5 != 1).unwrap_or_default();
    let block = &block[at..];
    match block[0] {
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        _ if block[1] & 0x80 == 0 => {
            std::str::from_utf8(&block[2..5]).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
        }
        // Digits have five bits in Huffman's code up to 2, and six beyond (RFC 7541, appendix B).
        _ => huffman(&block[2..2 + usize::from(block[1] & 0x7f)]),
    }
}

fn huffman(bytes: &[u8]) -> u16 {
    let bits: Vec<bool> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let (mut at, mut number) = (0, 0);
    let take = |from: usize, count: usize| {
        bits.get(from..from + count)
            .map(|bits| bits.iter().fold(0_u16, |value, bit| value << 1 | u16::from(*bit)))
    };
    for _ in 0..3 {
        let short = take(at, 5).filter(|digit| *digit <= 2);
        at += if short.is_some() { 5 } else { 6 };
        // 3 is 0x19.
        let digit = short.unwrap_or_else(|| take(at - 6, 6).unwrap_or_default().saturating_sub(0x16));
        number = number * 10 + digit;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_have_a_length_of_several_bytes() {
        let mut block = Vec::new();
        for bytes in [126, 127, 128, 127 + 128, 1337] {
            length(&mut block, bytes);
        }
        assert_eq!(block, [126, 127, 0, 127, 1, 127, 0x80, 1, 127, 0xba, 9]);
    }

    #[test]
    fn a_status_is_read_in_each_of_its_forms() {
        assert_eq!(status_of(&[0x88]), 200);
        assert_eq!(status_of(&[0x20, 0x8c]), 400);
        assert_eq!(status_of(&[0x48, 3, b'4', b'2', b'9']), 429);
        // 503 in Huffman's code: 0x1b, 0x0, 0x19.
        assert_eq!(status_of(&[0x48, 0x83, 0b0110_1100, 0b0000_1100, 0b1111_1111]), 503);
        assert_eq!(status_of(&[0x48, 0x82, 0b0110_1000, 0]), 400);
    }
}
