//! The body of an HTTP/1.1 response: chunks, a length, or until the connection closes.

use crate::head::Head;

/// Takes a body's framing away as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// RFC 9112, section 7.1.
    Chunked(Chunk),
    /// So many bytes are missing.
    Length(usize),
    /// Nothing tells the end but the connection's.
    UntilClose,
}

/// Where in the chunks we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In the line with a chunk's size.
    Size(Vec<u8>),
    /// So many bytes of a chunk are missing.
    Data(usize),
    /// In the CR LF behind a chunk's data.
    DataEnd(Vec<u8>),
    /// Behind the last chunk, in a trailer line.
    Trailer(Vec<u8>),
    /// All has arrived.
    Done,
}

/// Longer lines than this are taken for nonsense, in bytes.
const MAX_LINE: usize = 1024;

impl Body {
    /// The framing that a head announces.
    ///
    /// # Errors
    ///
    /// When it announces none that we know.
    pub fn of(head: &Head) -> Result<Self, String> {
        match (head.field("transfer-encoding"), head.field("content-length")) {
            ("", "") => Ok(Self::UntilClose),
            ("chunked", "") => Ok(Self::Chunked(Chunk::Size(Vec::new()))),
            ("", length) => length.parse().map(Self::Length).map_err(|e| format!("length {length:?}: {e}")),
            both => Err(format!("transfer coding and length {both:?}")),
        }
    }

    /// Takes what arrived and appends what it carries.
    ///
    /// # Errors
    ///
    /// When it breaks the framing.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::UntilClose => out.extend_from_slice(bytes),
            Self::Length(missing) => {
                *missing = missing.checked_sub(bytes.len()).ok_or("more bytes than announced")?;
                out.extend_from_slice(bytes);
            }
            Self::Chunked(chunk) => {
                while !bytes.is_empty() {
                    bytes = chunk.step(bytes, out)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the end has arrived; none when only the connection's end tells.
    pub fn finished(&self) -> Option<bool> {
        match self {
            Self::UntilClose => None,
            Self::Length(missing) => Some(*missing == 0),
            Self::Chunked(chunk) => Some(*chunk == Chunk::Done),
        }
    }
}

impl Chunk {
    /// Takes some bytes, at least one, and gives back the rest.
    fn step<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], String> {
        match self {
            Self::Data(missing) => {
                let (data, rest) = bytes.split_at(bytes.len().min(*missing));
                out.extend_from_slice(data);
                *missing -= data.len();
                if *missing == 0 {
                    *self = Self::DataEnd(Vec::new());
                }
                Ok(rest)
            }
            Self::Done => Err(format!("{} bytes after the last chunk", bytes.len())),
            Self::Size(line) | Self::DataEnd(line) | Self::Trailer(line) => {
                line.push(bytes[0]);
                if line.len() > MAX_LINE {
                    return Err("a line between chunks is too long".into());
                }
                if let Some(text) = line.strip_suffix(b"\r\n") {
                    let text = text.to_vec();
                    *self = self.after_line(&text)?;
                }
                Ok(&bytes[1..])
            }
        }
    }

    fn after_line(&self, line: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(line);
        match self {
            Self::DataEnd(_) if line.is_empty() => Ok(Self::Size(Vec::new())),
            Self::DataEnd(_) => Err(format!("a chunk is longer than its size: {text:?} follows")),
            Self::Trailer(_) if line.is_empty() => Ok(Self::Done),
            Self::Trailer(_) => Ok(Self::Trailer(Vec::new())),
            _ => {
                let digits = text.split(';').next().unwrap_or_default().trim();
                match usize::from_str_radix(digits, 16) {
                    Ok(0) => Ok(Self::Trailer(Vec::new())),
                    Ok(size) if !digits.starts_with('+') => Ok(Self::Data(size)),
                    _ => Err(format!("not a chunk's size: {text:?}")),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunked() -> Body {
        Body::Chunked(Chunk::Size(Vec::new()))
    }

    proptest! {
        #[test]
        fn chunks_read_back_wherever_they_are_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), cut in 1usize..50
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\nTrailer: 1\r\n\r\n");
            let (mut body, mut out) = (chunked(), Vec::new());
            for piece in text.chunks(cut) {
                prop_assert_ne!(body.finished(), Some(true));
                body.feed(piece, &mut out).unwrap();
            }
            prop_assert_eq!(body.finished(), Some(true));
            prop_assert_eq!(out, chunks.concat());
        }
    }

    #[test]
    fn broken_framing_is_noticed() {
        for bad in [&b"x\r\n"[..], b"1\r\nab\r\n", b"-1\r\n", b"+1\r\n", b"\r\n", b"0\r\n\r\nmore"] {
            let broken = chunked().feed(bad, &mut Vec::new());
            assert!(broken.is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(Body::Length(2).feed(b"abc", &mut Vec::new()).is_err());
    }

    #[test]
    fn the_head_says_which_framing() {
        let body = |name: &str, value: &str| {
            Body::of(&Head { status: 200, fields: vec![(name.to_owned(), value.to_owned())] })
        };
        assert_eq!(body("transfer-encoding", "chunked"), Ok(chunked()));
        assert_eq!(body("content-length", "7"), Ok(Body::Length(7)));
        assert_eq!(body("date", "x"), Ok(Body::UntilClose));
        assert!(body("transfer-encoding", "gzip").is_err());
    }
}
