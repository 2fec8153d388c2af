//! A response's body without its framing, in pieces of any size.

use crate::head::Framing;

/// The most bytes that the line before a chunk may have.
const MAX_SIZE_LINE: usize = 256;

/// Bytes that are no chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not chunked as its head says")]
pub struct Malformed;

/// Where in a body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the line with a chunk's size. `digits` of it were read; what follows `;` is passed over.
    Size { size: u64, read: usize, digits: bool, extension: bool },
    /// In a chunk, or in a body of a known length.
    Data { left: u64 },
    /// Behind a chunk, before its line ending.
    AfterData,
    /// Behind the last chunk; whether the line has anything in it.
    Trailer { empty: bool },
    /// The body goes on until the connection ends.
    Open,
    /// Complete.
    Done,
}

/// Takes a framing off.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    chunked: bool,
    state: State,
}

const SIZE: State = State::Size { size: 0, read: 0, digits: false, extension: false };

impl Body {
    /// Creates a body that begins now.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Chunked => SIZE,
            Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Data { left },
            Framing::Close => State::Open,
        };
        Self { chunked: framing == Framing::Chunked, state }
    }

    /// Returns whether the last byte was seen. A body that ends with its connection is never finished before.
    pub fn is_finished(&self) -> bool {
        self.state == State::Done
    }

    /// Returns whether the end of the connection is the proper end here.
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::Done | State::Open)
    }

    /// Takes bytes off the connection and hands on what is the body's. Bytes behind the end are ignored.
    ///
    /// # Errors
    ///
    /// Fails if they are no chunks.
    pub fn feed(&mut self, mut bytes: &[u8], mut out: impl FnMut(&[u8])) -> Result<(), Malformed> {
        while let [first, rest @ ..] = bytes {
            match &mut self.state {
                State::Done => return Ok(()),
                State::Open => {
                    out(bytes);
                    return Ok(());
                }
                State::Data { left } => {
                    let take = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    out(&bytes[..take]);
                    *left -= take as u64;
                    bytes = &bytes[take..];
                    if *left == 0 {
                        self.state = if self.chunked { State::AfterData } else { State::Done };
                    }
                    continue;
                }
                State::Size { size, read, digits, extension } => {
                    *read += 1;
                    match (first, char::from(*first).to_digit(16)) {
                        (b'\n', _) if *digits && *size == 0 => self.state = State::Trailer { empty: true },
                        (b'\n', _) if *digits => self.state = State::Data { left: *size },
                        (b'\r', _) => {}
                        _ if *read > MAX_SIZE_LINE => return Err(Malformed),
                        (b';', _) if *digits => *extension = true,
                        _ if *extension => {}
                        (_, Some(digit)) => {
                            *size = size.checked_mul(16).ok_or(Malformed)? + u64::from(digit);
                            *digits = true;
                        }
                        _ => return Err(Malformed),
                    }
                }
                State::AfterData => match first {
                    b'\r' => {}
                    b'\n' => self.state = SIZE,
                    _ => return Err(Malformed),
                },
                State::Trailer { empty } => match first {
                    b'\n' if *empty => self.state = State::Done,
                    b'\n' => *empty = true,
                    b'\r' => {}
                    _ => *empty = false,
                },
            }
            bytes = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Body), Malformed> {
        let (mut body, mut out) = (Body::new(framing), Vec::new());
        for piece in pieces {
            body.feed(piece, |bytes| out.extend_from_slice(bytes))?;
        }
        Ok((out, body))
    }

    proptest! {
        #[test]
        fn chunks_read_back_wherever_they_are_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let (out, body) = read(Framing::Chunked, &pieces).unwrap();
            prop_assert_eq!(out, chunks.concat());
            prop_assert!(body.is_finished());
        }
    }

    #[test]
    fn a_body_cut_short_is_not_finished() {
        for text in ["5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"] {
            let (_, body) = read(Framing::Chunked, &[text.as_bytes()]).unwrap();
            assert!(!body.is_finished() && !body.may_end(), "{text:?}");
        }
        let (out, body) = read(Framing::Length(5), &[b"hel", b"lo!"]).unwrap();
        assert_eq!((&out[..], body.is_finished()), (&b"hello"[..], true));
        let (out, body) = read(Framing::Close, &[b"hel", b"lo"]).unwrap();
        assert_eq!((&out[..], body.is_finished(), body.may_end()), (&b"hello"[..], false, true));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for text in ["hello", "\n", "5\r\nhello!", "11111111111111111\r\n"] {
            assert!(read(Framing::Chunked, &[text.as_bytes()]).is_err(), "{text:?}");
        }
    }
}
