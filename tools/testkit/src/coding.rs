//! How the body of a response is coded.

use std::io::Write;

use flate2::write::GzDecoder;

use crate::head::Head;

/// The bytes that an empty stored block ends with: the mark of a flush (RFC 1951, section 3.2.4).
const MARK: u32 = 0x0000_FFFF;

/// Takes a body's coding away as it arrives.
#[derive(Debug)]
pub enum Coding {
    /// There is none.
    Identity,
    /// One gzip member (RFC 1952).
    Gzip(Box<Gzip>),
}

/// Hands out text only where every decoder does: at the mark of a flush, and at the end. zlib would not wait for it, but
/// Go's compress/flate does.
#[derive(Debug)]
pub struct Gzip {
    /// Holds what was decoded and not handed out.
    decoder: GzDecoder<Vec<u8>>,
    /// The last four bytes.
    last: u32,
}

impl Gzip {
    fn feed(&mut self, mut bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut text = Vec::new();
        // No other bytes of a stream look like that: no text in UTF-8 has 0xFF.
        while let Some(end) = bytes.iter().position(|byte| {
            self.last = self.last << 8 | u32::from(*byte);
            self.last == MARK
        }) {
            let (flushed, rest) = bytes.split_at(end + 1);
            self.decoder.write_all(flushed)?;
            self.decoder.flush()?;
            text.append(self.decoder.get_mut());
            bytes = rest;
        }
        self.decoder.write_all(bytes)?;
        Ok(text)
    }
}

impl Coding {
    /// The coding that a head announces.
    ///
    /// # Errors
    ///
    /// When it is one that we do not know.
    pub fn of(head: &Head) -> Result<Self, String> {
        match head.field("content-encoding") {
            "" => Ok(Self::Identity),
            "gzip" => Ok(Self::Gzip(Box::new(Gzip { decoder: GzDecoder::new(Vec::new()), last: !0 }))),
            other => Err(format!("content coding {other:?}")),
        }
    }

    /// Takes what arrived and gives back what can be read of it.
    ///
    /// # Errors
    ///
    /// When it is not of this coding.
    pub fn feed(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        match self {
            Self::Identity => Ok(bytes),
            Self::Gzip(gzip) => gzip.feed(&bytes).map_err(|e| format!("gzip: {e}")),
        }
    }

    /// Checks that what came is whole, and that its checksum and size are right.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn end(&mut self) -> Result<(), String> {
        match self {
            Self::Identity => Ok(()),
            Self::Gzip(gzip) => gzip.decoder.try_finish().map_err(|e| format!("gzip's end: {e}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip() -> Coding {
        let fields = vec![("content-encoding".to_owned(), "gzip".to_owned())];
        Coding::of(&Head { fields, ..Head::default() }).unwrap()
    }

    #[test]
    fn what_was_flushed_is_read_at_once_and_an_end_that_is_missing_is_seen() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let mut coding = gzip();
        for text in ["data: one\n\n", "data: two\n\n"] {
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.flush().unwrap();
            assert_eq!(coding.feed(std::mem::take(encoder.get_mut())).unwrap(), text.as_bytes());
        }
        let mut cut = gzip();
        let rest = encoder.finish().unwrap();
        coding.feed(rest.clone()).unwrap();
        coding.end().unwrap();
        cut.feed(b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec()).unwrap();
        cut.feed(rest[..rest.len() - 4].to_vec()).unwrap();
        cut.end().unwrap_err();
    }

    #[test]
    fn what_was_not_flushed_is_held_back() {
        let mut coding = gzip();
        let header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
        assert_eq!(coding.feed([&header[..], b"\0\x02\0\xfd\xff:\n"].concat()).unwrap(), b"");
        assert_eq!(coding.feed(b"\0\0\0".to_vec()).unwrap(), b"");
        assert_eq!(coding.feed(b"\xff\xff".to_vec()).unwrap(), b":\n");
    }

    #[test]
    fn without_a_coding_bytes_stay_as_they_are() {
        let mut coding = Coding::of(&Head::default()).unwrap();
        assert_eq!(coding.feed(b"x".to_vec()).unwrap(), b"x");
        coding.end().unwrap();
        let fields = vec![("content-encoding".to_owned(), "br".to_owned())];
        Coding::of(&Head { fields, ..Head::default() }).unwrap_err();
    }
}
