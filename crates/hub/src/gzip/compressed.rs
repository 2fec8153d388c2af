//! A text as compressed blocks that fit into every member.

use std::cell::RefCell;

use zlib_rs::crc32::crc32_combine_gen;
use zlib_rs::{Deflate, DeflateFlush, Status};

/// Minimum length for compression, in bytes: shorter JSON shrinks by less than a third, and decoding costs the client
/// too.
pub(crate) const MIN_COMPRESSED: usize = 300;
/// Compression level with the best ratio for its time; ADR 7 has the figures.
const LEVEL: i32 = 3;
/// Maximum distance of a reference, as a power of two; gzip cannot declare less.
const WINDOW_BITS: u8 = 15;

thread_local! {
    // Hundreds of kilobytes, reused for each event. Only threads that run shards have one.
    static DEFLATE: RefCell<Deflate> = RefCell::new(Deflate::new(LEVEL, false, WINDOW_BITS));
}

/// Blocks without a final one, which do not refer to earlier data and end with a [`MARK`](super::MARK).
#[derive(Debug)]
pub(crate) struct CompressedText {
    pub(super) blocks: Box<[u8]>,
    /// Checksum of the text.
    pub(super) crc: u32,
    /// Operator that advances a checksum by the length of the text.
    pub(super) shift: u32,
    /// Length of the text, modulo 2³².
    pub(super) size: u32,
}

impl CompressedText {
    /// Compresses a text. Blocks the caller for about 11 µs for a kilobyte and 4 ms for a megabyte.
    pub(crate) fn new(text: &[u8]) -> Self {
        let blocks = DEFLATE.with_borrow_mut(|deflate| compress(text, deflate)).unwrap_or_else(|| {
            let mut blocks = Vec::with_capacity(text.len() + 3 * super::STORED_HEAD);
            super::store(text, &mut blocks);
            blocks.extend_from_slice(&super::MARK);
            blocks
        });
        Self {
            blocks: blocks.into(),
            crc: crc32fast::hash(text),
            shift: crc32_combine_gen(text.len() as u64),
            #[expect(clippy::cast_possible_truncation, reason = "modulo 2³² by RFC 1952")]
            size: text.len() as u32,
        }
    }

    /// Returns the size of the blocks, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }
}

/// Returns the compressed text; `None` if it is not shorter.
fn compress(text: &[u8], deflate: &mut Deflate) -> Option<Vec<u8>> {
    let mut blocks = vec![0; text.len()];
    let (before, after) = (deflate.total_in(), deflate.total_out());
    // A full flush ends with a marker and resets the history, so that the next text does not refer to this one. It is
    // complete if the buffer has room left.
    let status = deflate.compress(text, &mut blocks, DeflateFlush::FullFlush);
    let taken = usize::try_from(deflate.total_in() - before);
    let length = usize::try_from(deflate.total_out() - after).unwrap_or(usize::MAX);
    if matches!(status, Ok(Status::Ok)) && taken == Ok(text.len()) && length < blocks.len() {
        blocks.truncate(length);
        Some(blocks)
    } else {
        deflate.reset();
        None
    }
}
