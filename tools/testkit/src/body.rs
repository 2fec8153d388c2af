//! The body of an HTTP/1 response without its framing (RFC 9112): chunks, a length, or until the connection closes.

use crate::head::Head;

/// The longest line between chunks, in bytes.
const MAX_LINE: usize = 1024;

/// Why bytes are not the body that the head announced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The head announces a framing that is not known, or two.
    #[error("unknown framing: transfer-encoding {0:?}, content-length {1:?}")]
    Framing(String, String),
    /// A line between chunks is not a chunk's size, a line end or a trailer field.
    #[error("invalid chunked framing at byte {0:?}")]
    Chunk(char),
    /// A line between chunks is longer than 1024 bytes.
    #[error("a line between chunks is too long")]
    LineTooLong,
    /// More bytes follow the end of the body.
    #[error("{0} bytes after the end of the body")]
    AfterEnd(usize),
}

/// Where in a body the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the line with a chunk's size; `extension` after the digits.
    Size { size: u64, read: usize, digits: bool, extension: bool },
    /// After the CR of that line.
    SizeEnd { size: u64 },
    /// In a chunk, or in a body of a known length.
    Data { left: u64 },
    /// After a chunk's data, before CR.
    DataEnd,
    /// After that CR.
    DataEndLf,
    /// In a trailer line of so many bytes.
    Trailer { read: usize },
    /// After the CR of that line; an empty line is the last.
    TrailerEnd { last: bool },
    /// The body continues until the connection ends.
    Open,
    /// Complete.
    Done,
}

const SIZE: State = State::Size { size: 0, read: 0, digits: false, extension: false };

/// Removes a body's framing as the body arrives. Violations of the framing are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    chunked: bool,
    state: State,
}

impl Body {
    /// Returns a body that continues until the connection ends.
    pub fn until_close() -> Self {
        Self { chunked: false, state: State::Open }
    }

    /// Returns the body that a head announces.
    ///
    /// # Errors
    ///
    /// Fails if the head announces an unknown framing, or two.
    pub fn of(head: &Head) -> Result<Self, BodyError> {
        let (coding, length) = (head.field("transfer-encoding"), head.field("content-length"));
        let unknown = || BodyError::Framing(coding.to_owned(), length.to_owned());
        let state = match (coding.to_ascii_lowercase().as_str(), length) {
            ("", "") => State::Open,
            ("chunked", "") => SIZE,
            ("", length) => match length.parse().map_err(|_| unknown())? {
                0 => State::Done,
                left => State::Data { left },
            },
            _ => return Err(unknown()),
        };
        Ok(Self { chunked: state == SIZE, state })
    }

    /// Returns whether the last byte was read. A body that ends with its connection is never finished before.
    pub fn is_finished(&self) -> bool {
        self.state == State::Done
    }

    /// Returns whether the body may end with the connection here.
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::Done | State::Open)
    }

    /// Takes bytes of the connection, and passes the body's to `out`.
    ///
    /// # Errors
    ///
    /// Fails if the bytes violate the framing.
    pub fn feed(&mut self, mut bytes: &[u8], mut out: impl FnMut(&[u8])) -> Result<(), BodyError> {
        while let [first, rest @ ..] = bytes {
            match self.state {
                State::Done => return Err(BodyError::AfterEnd(bytes.len())),
                State::Open => {
                    out(bytes);
                    return Ok(());
                }
                State::Data { left } => {
                    let take = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    out(&bytes[..take]);
                    bytes = &bytes[take..];
                    self.state = match left - take as u64 {
                        0 if self.chunked => State::DataEnd,
                        0 => State::Done,
                        left => State::Data { left },
                    };
                }
                _ => {
                    self.state = between_chunks(self.state, *first)?;
                    bytes = rest;
                }
            }
        }
        Ok(())
    }
}

/// Takes one byte between chunks.
fn between_chunks(state: State, byte: u8) -> Result<State, BodyError> {
    let wrong = Err(BodyError::Chunk(char::from(byte)));
    Ok(match (state, byte) {
        (State::Size { read: MAX_LINE, .. } | State::Trailer { read: MAX_LINE }, _) => {
            return Err(BodyError::LineTooLong);
        }
        (State::Size { size, digits: true, .. }, b'\r') => State::SizeEnd { size },
        (State::Size { size, read, digits: true, .. }, b';' | b' ' | b'\t') => {
            State::Size { size, read: read + 1, digits: true, extension: true }
        }
        (State::Size { size, read, digits, extension: true }, 0x20..) => {
            State::Size { size, read: read + 1, digits, extension: true }
        }
        (State::Size { size, read, extension: false, .. }, digit) => {
            let Some(digit) = char::from(digit).to_digit(16) else { return wrong };
            let Some(size) = size.checked_mul(16) else { return wrong };
            State::Size { size: size + u64::from(digit), read: read + 1, digits: true, extension: false }
        }
        (State::SizeEnd { size: 0 } | State::TrailerEnd { last: false }, b'\n') => State::Trailer { read: 0 },
        (State::SizeEnd { size }, b'\n') => State::Data { left: size },
        (State::DataEnd, b'\r') => State::DataEndLf,
        (State::DataEndLf, b'\n') => SIZE,
        (State::Trailer { read }, b'\r') => State::TrailerEnd { last: read == 0 },
        (State::Trailer { read }, 0x20..) => State::Trailer { read: read + 1 },
        (State::TrailerEnd { last: true }, b'\n') => State::Done,
        _ => return wrong,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(name: &str, value: &str) -> Result<Body, BodyError> {
        Body::of(&Head { fields: vec![(name.to_owned(), value.to_owned())], ..Head::default() })
    }

    fn chunked() -> Body {
        body("transfer-encoding", "chunked").unwrap()
    }

    fn read(mut body: Body, pieces: &[&[u8]]) -> Result<(Vec<u8>, Body), BodyError> {
        let mut out = Vec::new();
        for piece in pieces {
            body.feed(piece, |bytes| out.extend_from_slice(bytes))?;
        }
        Ok((out, body))
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
                prop_assert!(!body.is_finished());
                body.feed(piece, |bytes| out.extend_from_slice(bytes)).unwrap();
            }
            prop_assert!(body.is_finished());
            prop_assert_eq!(out, chunks.concat());
        }
    }

    #[test]
    fn a_body_cut_short_is_not_finished() {
        for text in ["5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"] {
            let (_, body) = read(chunked(), &[text.as_bytes()]).unwrap();
            assert!(!body.is_finished() && !body.may_end(), "{text:?}");
        }
        let (out, cut) = read(body("content-length", "5").unwrap(), &[b"hel", b"l"]).unwrap();
        assert_eq!((&out[..], cut.is_finished(), cut.may_end()), (&b"hell"[..], false, false));
        let (out, open) = read(Body::until_close(), &[b"hel", b"lo"]).unwrap();
        assert_eq!((&out[..], open.is_finished(), open.may_end()), (&b"hello"[..], false, true));
    }

    #[test]
    fn broken_framing_is_an_error() {
        for bad in [
            &b"hello"[..],
            b"\n",
            b"\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello\n",
            b"5\r\nhello!",
            b"-1\r\n",
            b"+1\r\n",
            b"1;a\n",
            b"11111111111111111\r\n",
            b"0\r\n\n",
            b"0\r\n\r\nmore",
        ] {
            assert!(read(chunked(), &[bad]).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(read(chunked(), &[&[b'1'; 1], &[b';'; 2 * MAX_LINE]]), Err(BodyError::LineTooLong));
        assert_eq!(read(body("content-length", "2").unwrap(), &[b"abc"]), Err(BodyError::AfterEnd(1)));
    }

    #[test]
    fn the_head_announces_the_framing() {
        assert!(chunked().chunked);
        assert_eq!(body("content-length", "7").unwrap().state, State::Data { left: 7 });
        assert!(body("content-length", "0").unwrap().is_finished());
        assert_eq!(body("date", "x").unwrap(), Body::until_close());
        assert!(body("transfer-encoding", "gzip").is_err() && body("content-length", "x").is_err());
        let both = [("transfer-encoding", "chunked"), ("content-length", "7")];
        let fields = both.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert!(Body::of(&Head { fields, ..Head::default() }).is_err());
    }
}
