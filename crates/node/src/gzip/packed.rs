//! A text as blocks that fit into every member.

use std::cell::RefCell;

use zlib_rs::crc32::crc32_combine_gen;
use zlib_rs::{Deflate, DeflateFlush, Status};

/// Shorter texts are stored: of fewer bytes than this, JSON loses less than a third, and the client pays for it too.
pub(crate) const MIN_PACKED: usize = 300;
/// The one with the most for its time: ADR 7 has the figures.
const LEVEL: i32 = 3;
/// How far back a reference reaches at most, as a power of two; gzip has no way to say less.
const WINDOW_BITS: u8 = 15;

thread_local! {
    // Hundreds of kilobytes, used again for each event. Only a thread that runs writer loops ever has one.
    static DEFLATE: RefCell<Deflate> = RefCell::new(Deflate::new(LEVEL, false, WINDOW_BITS));
}

/// Blocks without a final one, which refer to nothing before them and end with a [`MARK`](super::MARK).
#[derive(Debug)]
pub(crate) struct Packed {
    pub(super) blocks: Box<[u8]>,
    /// Of the text.
    pub(super) crc: u32,
    /// Moves a checksum over as many bytes as the text has.
    pub(super) shift: u32,
    /// Length of the text, modulo 2³².
    pub(super) size: u32,
}

impl Packed {
    /// Packs a text. Takes about 11 µs for a kilobyte and 4 ms for a megabyte, during which the caller does nothing else.
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

    /// Returns how many bytes its blocks have.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }
}

/// Returns the text compressed; `None` if it is not shorter then.
fn compress(text: &[u8], deflate: &mut Deflate) -> Option<Vec<u8>> {
    let mut blocks = vec![0; text.len()];
    let (before, after) = (deflate.total_in(), deflate.total_out());
    // A full flush ends with a mark and forgets the text, so that the next one refers to nothing in it. It is complete if
    // there is room left.
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
