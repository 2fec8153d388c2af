//! Frames of HTTP/2 in any order, with any flags and lengths, and requests between them: the node fails on none, and serves
//! the next connection.

#![no_main]

use fanfare_fuzz::Client;
use libfuzzer_sys::fuzz_target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Number of frame types, two of which do not exist.
const TYPES: u8 = 12;

/// Payload of the PING behind the input.
const LAST: &[u8; 8] = b"\xfflast \xff\x00";

fn frame(length: usize, kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).expect("the length of an input");
    [&[0][..], &length.to_be_bytes(), &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Returns a head in HPACK without the dynamic table (RFC 7541, section 6.2.2).
fn head(method: u8, path: &[u8]) -> Vec<u8> {
    // Lengths up to 126 take one byte.
    let path = &path[..path.len().min(126)];
    let length = u8::try_from(path.len()).unwrap_or(u8::MAX);
    let media_type = b"\x0f\x10\x10application/json";
    [&[method, 0x86, 1, 1, b'a', 4, length][..], path, media_type].concat()
}

// Each frame is its type, flags, stream and length, and as many bytes of payload. Three types are a `GET`, a `POST` with a body to
// follow, and a frame whose length is off by its flags.
fuzz_target!(|input: &[u8]| {
    let mut bytes = [PREFACE, &frame(0, SETTINGS, 0, 0, &[])].concat();
    let mut rest = input;
    while let [kind, flags, stream, length, behind @ ..] = rest {
        let (payload, next) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = next;
        bytes.extend(match kind {
            b'G' => {
                let head = head(0x82, payload);
                frame(head.len(), HEADERS, END_HEADERS | END_STREAM, *stream, &head)
            }
            b'P' => {
                let head = head(0x83, payload);
                frame(head.len(), HEADERS, END_HEADERS, *stream, &head)
            }
            b'L' => frame(payload.len() ^ usize::from(*flags), flags % TYPES, *flags, *stream, payload),
            kind => frame(payload.len(), kind % TYPES, *flags, *stream, payload),
        });
    }
    bytes.extend(frame(LAST.len(), PING, 0, 0, LAST));
    let mut client = Client::send(&bytes);
    client.wait_for(&frame(LAST.len(), PING, ACK, 0, LAST));
    let answer = client.finish();
    // The server sends SETTINGS first (RFC 9113, section 3.4).
    assert!(answer.is_empty() || answer.get(3) == Some(&SETTINGS), "{answer:?}");
});
