//! One client's gzip member.

use zlib_rs::crc32::crc32_combine_op;

use super::compressed::CompressedText;
use super::{MARK, STORED_HEAD, store, stored_head};

/// Deflate, no name, no time, unknown system (RFC 1952, section 2.3.1).
const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];

/// State of the trailer and the header. Lives as long as the connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GzipMember {
    begun: bool,
    crc: u32,
    size: u32,
}

impl GzipMember {
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&HEADER);
        }
    }

    fn text(&mut self, text: &[u8]) {
        let mut crc = crc32fast::Hasher::new_with_initial(self.crc);
        crc.update(text);
        self.crc = crc.finalize();
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2³² by RFC 1952")]
        let length = text.len() as u32;
        self.size = self.size.wrapping_add(length);
    }

    fn compressed(&mut self, compressed: &CompressedText) {
        self.crc = crc32_combine_op(self.crc, compressed.crc, compressed.shift);
        self.size = self.size.wrapping_add(compressed.size);
    }

    /// Appends the end: an empty final block, the checksum and the size.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        out.extend_from_slice(&stored_head(0, true));
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
    }
}

/// One write, appended to a buffer: plain text without a member.
///
/// Consecutive texts are one stored block. The batch always ends with a [`MARK`].
pub(crate) struct BodyBatch<'a> {
    member: Option<&'a mut GzipMember>,
    out: &'a mut Vec<u8>,
    /// Start of the stored block to which texts are appended.
    open: Option<usize>,
}

impl<'a> BodyBatch<'a> {
    pub(crate) fn new(member: Option<&'a mut GzipMember>, out: &'a mut Vec<u8>) -> Self {
        Self { member, out, open: None }
    }

    /// Returns the length of the buffer.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// Returns the buffer to which text is appended.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        if let (Some(member), None) = (&mut self.member, self.open) {
            member.begin(self.out);
            self.open = Some(self.out.len());
            self.out.extend_from_slice(&[0; STORED_HEAD]);
        }
        self.out
    }

    /// Appends packed blocks; the batch must have a member.
    pub(crate) fn compressed(&mut self, compressed: &CompressedText) {
        self.close();
        if let Some(member) = &mut self.member {
            member.begin(self.out);
            member.compressed(compressed);
            self.out.extend_from_slice(&compressed.blocks);
        }
    }

    fn close(&mut self) {
        let (Some(member), Some(open)) = (&mut self.member, self.open.take()) else { return };
        let start = open + STORED_HEAD;
        member.text(&self.out[start..]);
        if let Ok(length) = u16::try_from(self.out.len() - start) {
            self.out[open..start].copy_from_slice(&stored_head(length, false));
        } else {
            let text = self.out.split_off(start);
            self.out.truncate(open);
            store(&text, self.out);
        }
    }

    /// Ends the batch, so that every decoder returns all of it.
    pub(crate) fn finish(mut self) {
        // Packed blocks end with a marker.
        if self.open.is_some() {
            self.close();
            self.out.extend_from_slice(&MARK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_in_the_trailer_wraps() {
        let (mut member, mut out) = (GzipMember { size: u32::MAX - 3, ..GzipMember::default() }, Vec::new());
        let mut batch = BodyBatch::new(Some(&mut member), &mut out);
        batch.text().extend_from_slice(b"0123456789");
        batch.compressed(&CompressedText::new(&[b'x'; 400]));
        batch.finish();
        member.end(&mut out);
        assert_eq!(out[out.len() - 4..], 406u32.to_le_bytes());
    }
}
