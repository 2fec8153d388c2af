//! How the body of a response is coded.

use std::io::Write;

use flate2::write::GzDecoder;

use crate::head::Head;

/// Takes a body's coding away as it arrives: whatever can be read of what has come is read at once.
#[derive(Debug)]
pub enum Coding {
    /// There is none.
    Identity,
    /// One gzip member (RFC 1952).
    Gzip(Box<GzDecoder<Vec<u8>>>),
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
            "gzip" => Ok(Self::Gzip(Box::new(GzDecoder::new(Vec::new())))),
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
            Self::Gzip(decoder) => {
                let fed = decoder.write_all(&bytes).and_then(|()| decoder.flush());
                fed.map_err(|e| format!("gzip: {e}"))?;
                Ok(std::mem::take(decoder.get_mut()))
            }
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
            Self::Gzip(decoder) => decoder.try_finish().map_err(|e| format!("gzip's end: {e}")),
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
        Coding::of(&Head { status: 200, fields }).unwrap()
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
    fn without_a_coding_bytes_stay_as_they_are() {
        let mut coding = Coding::of(&Head::default()).unwrap();
        assert_eq!(coding.feed(b"x".to_vec()).unwrap(), b"x");
        coding.end().unwrap();
        let fields = vec![("content-encoding".to_owned(), "br".to_owned())];
        Coding::of(&Head { status: 200, fields }).unwrap_err();
    }
}
