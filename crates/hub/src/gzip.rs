//! One gzip member for each client (RFC 1952), mostly made of blocks that all clients share (RFC 1951).
//!
//! Each client has a separate member, which contains its `id:` lines. An event is compressed once: its blocks do not
//! refer to earlier data, and begin and end at a byte boundary, so the same bytes fit into every member. Short texts
//! are stored.
//!
//! Each write ends with a flush marker. Some decoders return text only there: Go's decoder keeps the text of stored
//! blocks until its window of 32 KiB is full, the member ends, or a marker follows.
//!
//! # Layout
//!
//! - `compressed`: the shared blocks of an event
//! - `member`: a client's member: header, blocks, trailer

mod compressed;
mod member;

pub(crate) use self::compressed::{CompressedText, MIN_COMPRESSED};
pub(crate) use self::member::{BodyBatch, GzipMember};

/// Maximum size of a stored block, in bytes (RFC 1951, section 3.2.4).
const MAX_STORED: usize = 0xFFFF;
/// Length of its head, at a byte boundary.
const STORED_HEAD: usize = 5;

/// An empty stored block: the marker of a flush (`Z_SYNC_FLUSH` and `Z_FULL_FLUSH` of zlib).
const MARK: [u8; STORED_HEAD] = stored_head(0, false);

/// Returns the head of a stored block of `length` bytes; `last` marks the member's last block.
const fn stored_head(length: u16, last: bool) -> [u8; STORED_HEAD] {
    let ([l, h], [nl, nh]) = (length.to_le_bytes(), (!length).to_le_bytes());
    [last as u8, l, h, nl, nh]
}

/// Appends a text as stored blocks.
fn store(text: &[u8], out: &mut Vec<u8>) {
    for block in text.chunks(MAX_STORED) {
        // Chunks have at most `MAX_STORED` bytes.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&stored_head(length, false));
        out.extend_from_slice(block);
    }
}

#[cfg(test)]
mod tests;
