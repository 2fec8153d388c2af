//! The place of a stored event in its channel's log.

use std::fmt;
use std::str::FromStr;

/// Length of the longest text of a position, in bytes: two numbers of twenty digits.
const MAX_TEXT: usize = 20 + 1 + 20;

/// A Redis stream id, `<milliseconds>-<sequence>`: ordered, never reused within a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// Unix time in milliseconds by the clock of Redis.
    pub ms: u64,
    /// Sequence number within the millisecond.
    pub seq: u64,
}

/// A text that is not `<milliseconds>-<sequence>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a position must be <milliseconds>-<sequence>, like 1718031234567-3")]
pub struct PositionError;

impl Position {
    /// The position before every entry, which is that of a channel without events.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };

    /// Creates a position.
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// Returns the next position; `None` after the greatest one.
    pub const fn next(self) -> Option<Self> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(Self { ms: self.ms, seq }),
            (None, Some(ms)) => Some(Self { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// Parses a position from the bytes of a Redis reply.
    ///
    /// # Errors
    ///
    /// Fails if the text is not two decimal numbers below 2^64, separated by a hyphen.
    pub fn parse(text: &[u8]) -> Result<Self, PositionError> {
        let hyphen = text.iter().position(|&b| b == b'-').ok_or(PositionError)?;
        Ok(Self { ms: number(&text[..hyphen])?, seq: number(&text[hyphen + 1..])? })
    }
}

/// Parses decimal digits, without sign, space or leading zeros, so that each position has exactly one text.
pub(crate) fn number(digits: &[u8]) -> Result<u64, PositionError> {
    let canonical = match digits {
        [] => false,
        [b'0'] => true,
        [first, rest @ ..] => matches!(first, b'1'..=b'9') && rest.iter().all(u8::is_ascii_digit),
    };
    if !canonical {
        return Err(PositionError);
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        sum.checked_mul(10).and_then(|sum| sum.checked_add(u64::from(digit - b'0'))).ok_or(PositionError)
    })
}

impl FromStr for Position {
    type Err = PositionError;
    fn from_str(text: &str) -> Result<Self, PositionError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece and without `write!`, since each event's position is written.
        let (mut ms, mut seq, mut text) = (itoa::Buffer::new(), itoa::Buffer::new(), [b'-'; MAX_TEXT]);
        let (ms, seq) = (ms.format(self.ms).as_bytes(), seq.format(self.seq).as_bytes());
        let end = ms.len() + 1 + seq.len();
        text[..ms.len()].copy_from_slice(ms);
        text[ms.len() + 1..end].copy_from_slice(seq);
        f.write_str(std::str::from_utf8(&text[..end]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_reads_back(ms: u64, seq: u64) {
            let position = Position::new(ms, seq);
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn each_position_has_one_text(text in "[0-9+ -]{0,24}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }

    #[test]
    fn nothing_comes_between_a_position_and_the_next() {
        assert_eq!(Position::ZERO.next(), Some(Position::new(0, 1)));
        assert_eq!(Position::new(5, u64::MAX).next(), Some(Position::new(6, 0)));
        assert_eq!(Position::new(u64::MAX, u64::MAX).next(), None);
    }

    #[test]
    fn what_is_not_a_position_is_refused() {
        for text in ["", "-", "1", "1-", "-1", "01-1", "1-01", "+1-1", "1-1-1", "18446744073709551616-0"] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text:?}");
        }
    }
}
