//! One gzip member for each client (RFC 1952), made mostly of blocks that all of them share (RFC 1951).
//!
//! A client has a member of its own, so that its `id:` lines may be in it. An event is compressed once: its blocks refer
//! to nothing before them and begin and end at a byte, so the same bytes fit into every member. Short texts are stored.
//!
//! Each write ends with the mark of a flush. Only there do all decoders hand out what they have: Go's, for one, keeps the
//! text of stored blocks until its window of 32 KiB is full, the member ends, or a mark comes.
//!
//! # Layout
//!
//! - `packed`: an event's blocks, shared
//! - `member`: a client's member: header, blocks, trailer

mod member;
mod packed;

pub(crate) use self::member::{Batch, Member};
pub(crate) use self::packed::{MIN_PACKED, Packed};

/// The most a stored block holds (RFC 1951, section 3.2.4).
const MAX_STORED: usize = 0xFFFF;
/// How long its head is, when it begins at a byte.
const STORED_HEAD: usize = 5;

/// An empty stored block: the mark that ends a flush (`Z_SYNC_FLUSH` and `Z_FULL_FLUSH` of zlib).
const MARK: [u8; STORED_HEAD] = stored_head(0, false);

/// Returns the head of a stored block with so many bytes; the member's last block is final.
const fn stored_head(length: u16, last: bool) -> [u8; STORED_HEAD] {
    let ([l, h], [nl, nh]) = (length.to_le_bytes(), (!length).to_le_bytes());
    [last as u8, l, h, nl, nh]
}

/// Appends a text as stored blocks.
fn store(text: &[u8], out: &mut Vec<u8>) {
    for block in text.chunks(MAX_STORED) {
        // A chunk is no longer than that.
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&stored_head(length, false));
        out.extend_from_slice(block);
    }
}

#[cfg(test)]
mod tests;
