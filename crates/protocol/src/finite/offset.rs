//! Places in a finite stream.

use std::fmt;
use std::str::FromStr;

/// Digits of each of an offset's two numbers.
const DIGITS: usize = 16;

/// The greatest number of an offset.
pub const MAX_NUMBER: u64 = 9_999_999_999_999_999;

/// A place in a stream: `<generation>_<byte>`, of 16 digits each.
///
/// The generation tells apart the bytes of streams that had the same name one after the other, and bytes that a failover of
/// Redis lost from those that were appended in their place: see [`Generations`](super::Generations). Offsets of a stream grow,
/// as texts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The generation; 0 only for the start of every stream.
    pub generation: u64,
    /// Number of bytes before the place.
    pub byte: u64,
}

/// A text that is not an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an offset must be the text of a Stream-Next-Offset, which has 16 digits, an underscore and 16 digits"
)]
pub struct OffsetError;

impl Offset {
    /// The start of every stream.
    pub const START: Self = Self { generation: 0, byte: 0 };
}

impl FromStr for Offset {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        let (generation, byte) = text.split_once('_').ok_or(OffsetError)?;
        Ok(Self { generation: number(generation)?, byte: number(byte)? })
    }
}

fn number(digits: &str) -> Result<u64, OffsetError> {
    let is_number = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().ok_or(OffsetError)
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$}_{:0DIGITS$}", self.generation, self.byte)
    }
}

/// Where a reader begins: `offset=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// `-1`, or no offset: the start.
    Start,
    /// `now`: the end of what is stored.
    Now,
    /// An offset.
    At(Offset),
}

impl FromStr for ReadFrom {
    type Err = ReadFromError;

    fn from_str(text: &str) -> Result<Self, ReadFromError> {
        match text {
            "-1" => Ok(Self::Start),
            "now" => Ok(Self::Now),
            text => text.parse().map(Self::At).map_err(|OffsetError| ReadFromError),
        }
    }
}

/// A text that is no place where a reader can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offset= must be -1, now, or the text of a Stream-Next-Offset")]
pub struct ReadFromError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_offset_reads_back_and_sorts_as_text(
            a in (0..=MAX_NUMBER, 0..=MAX_NUMBER),
            b in (0..=MAX_NUMBER, 0..=MAX_NUMBER),
        ) {
            let [a, b] = [a, b].map(|(generation, byte)| Offset { generation, byte });
            prop_assert_eq!(a.to_string().parse::<Offset>().unwrap(), a);
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
        }

        #[test]
        fn no_other_text_is_an_offset(text: String) {
            if let Ok(offset) = text.parse::<Offset>() {
                prop_assert_eq!(offset.to_string(), text);
            }
        }
    }

    #[test]
    fn a_reader_begins_at_the_start_now_or_at_an_offset() {
        let start = "0000000000000000_0000000000000000";
        assert_eq!(start.parse(), Ok(ReadFrom::At(Offset::START)));
        assert_eq!("-1".parse(), Ok(ReadFrom::Start));
        assert_eq!("now".parse(), Ok(ReadFrom::Now));
        for bad in [
            "",
            "0",
            "-2",
            "Now",
            "1_1",
            "000000000000000a_0000000000000000",
            "+000000000000000_0000000000000000",
        ] {
            assert_eq!(bad.parse::<ReadFrom>(), Err(ReadFromError), "{bad}");
        }
    }
}
