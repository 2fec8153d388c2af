//! Generations of a stream: which offsets are still valid.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::offset::{MAX_NUMBER, Offset};

/// The generations of a stream's bytes, oldest first. Its text is `<generation>:<end>,…,<generation>:`.
///
/// A stream begins with one generation. A fork has those of its source up to the place of the fork, and another one. Bytes
/// that a failover lost end a generation, and the next bytes have another one. So an offset is valid if its generation is in
/// the list and its byte within that generation's span. A reader of bytes that are no longer those of the stream has another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generations {
    /// Ended generations, with their ends.
    ended: Vec<(u64, u64)>,
    newest: u64,
}

/// Maximum number of ended generations. Offsets of older ones are no longer valid.
const MAX_ENDED: usize = 63;

/// A text that is not a list of generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list of generations is malformed")]
pub struct GenerationsError;

impl Generations {
    /// Creates the list of a new stream.
    pub fn new(generation: u64) -> Self {
        Self { ended: Vec::new(), newest: generation }
    }

    /// Returns the newest generation, which identifies what the stream is now.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Returns the offset of a byte: that of the newest generation that begins at it or before it.
    pub fn mint(&self, byte: u64) -> Offset {
        // The end of a generation is the begin of the next one, whose offset is greater.
        let holds = self.ended.iter().find(|(_, end)| byte < *end);
        Offset { generation: holds.map_or(self.newest, |(generation, _)| *generation), byte }
    }

    /// Returns the byte of an offset, if the stream's bytes before it are those that its reader has read. `tail` is the number
    /// of the stream's bytes.
    pub fn resolve(&self, offset: Offset, tail: u64) -> Option<u64> {
        if offset == Offset::START {
            return Some(0);
        }
        let mut begin = 0;
        for (generation, end) in self.ended.iter().copied().chain([(self.newest, tail)]) {
            if generation == offset.generation {
                return (begin..=end).contains(&offset.byte).then_some(offset.byte);
            }
            begin = end;
        }
        None
    }

    /// Returns the list up to a byte, for a fork at that place: without the newest generation that begins before it or at it, which
    /// the fork adds.
    pub fn up_to(&self, byte: u64) -> Vec<(u64, u64)> {
        let mut kept: Vec<_> = self.ended.iter().copied().filter(|(_, end)| *end < byte).collect();
        let next = self
            .ended
            .iter()
            .find(|(_, end)| *end >= byte)
            .map_or(self.newest, |(generation, _)| *generation);
        kept.push((next, byte));
        kept.drain(..kept.len().saturating_sub(MAX_ENDED));
        kept
    }

    /// Returns the text of ended generations, to which a new one is added.
    pub fn ended_text(ended: &[(u64, u64)]) -> String {
        let mut text = String::new();
        for (generation, end) in ended {
            // Writing to a text does not fail.
            let _ = write!(text, "{generation}:{end},");
        }
        text
    }

    /// Ends the newest generation at a byte and begins another one.
    pub fn begin(&mut self, generation: u64, at: u64) {
        self.ended.push((self.newest, at));
        self.ended.drain(..self.ended.len().saturating_sub(MAX_ENDED));
        self.newest = generation;
    }

    /// Creates the list of a fork.
    pub fn after(ended: Vec<(u64, u64)>, generation: u64) -> Self {
        Self { ended, newest: generation }
    }
}

impl fmt::Display for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:", Self::ended_text(&self.ended), self.newest)
    }
}

impl FromStr for Generations {
    type Err = GenerationsError;

    fn from_str(text: &str) -> Result<Self, GenerationsError> {
        let newest = text.strip_suffix(':').ok_or(GenerationsError)?;
        let (ended, newest) = newest.rsplit_once(',').map_or(("", newest), |(ended, newest)| (ended, newest));
        let pair = |text: &str| {
            let (generation, end) = text.split_once(':').ok_or(GenerationsError)?;
            Ok((number(generation)?, number(end)?))
        };
        let ended = ended.split(',').filter(|pair| !pair.is_empty()).map(pair).collect::<Result<_, _>>()?;
        Ok(Self { ended, newest: number(newest)? })
    }
}

fn number(text: &str) -> Result<u64, GenerationsError> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_digits.then(|| text.parse().ok()).flatten().filter(|number| *number <= MAX_NUMBER);
    number.ok_or(GenerationsError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(generation: u64, byte: u64) -> Offset {
        Offset { generation, byte }
    }

    #[test]
    fn a_new_stream_knows_its_own_offsets_and_the_start() {
        let one = Generations::new(7);
        assert_eq!((one.mint(0), one.mint(5)), (at(7, 0), at(7, 5)));
        for (offset, byte) in [
            (Offset::START, Some(0)),
            (at(7, 0), Some(0)),
            (at(7, 9), Some(9)),
            (at(7, 10), None),
            (at(6, 0), None),
            (at(8, 0), None),
            (at(0, 1), None),
        ] {
            assert_eq!(one.resolve(offset, 9), byte, "{offset}");
        }
    }

    #[test]
    fn lost_bytes_make_the_offsets_behind_them_invalid() {
        let mut stream = Generations::new(7);
        // The reader has read 10 bytes, of which a failover kept 4.
        stream.begin(9, 4);
        assert_eq!(stream.resolve(at(7, 10), 20), None);
        assert_eq!(stream.resolve(at(7, 4), 20), Some(4));
        assert_eq!((stream.mint(3), stream.mint(4), stream.mint(20)), (at(7, 3), at(9, 4), at(9, 20)));
        assert_eq!(stream.resolve(at(9, 3), 20), None);
    }

    #[test]
    fn offsets_of_the_source_are_valid_on_a_fork_up_to_its_place() {
        let mut source = Generations::new(7);
        source.begin(9, 4);
        for (byte, ended) in
            [(0, vec![(7, 0)]), (3, vec![(7, 3)]), (4, vec![(7, 4)]), (6, vec![(7, 4), (9, 6)])]
        {
            let fork = Generations::after(source.up_to(byte), 11);
            assert_eq!(fork, Generations::after(ended, 11), "{byte}");
            assert_eq!(fork.resolve(source.mint(byte.saturating_sub(1)), 20), Some(byte.saturating_sub(1)));
            assert_eq!(fork.mint(byte), at(11, byte));
        }
    }

    #[test]
    fn only_so_many_generations_are_kept() {
        let mut stream = Generations::new(1);
        for generation in 2..200 {
            stream.begin(generation, generation);
        }
        assert_eq!(stream.ended.len(), MAX_ENDED);
        assert_eq!(stream.resolve(at(100, 99), 300), None);
        assert_eq!(stream.resolve(at(199, 250), 300), Some(250));
        assert_eq!(stream.up_to(300).len(), MAX_ENDED);
    }

    proptest! {
        #[test]
        fn a_minted_offset_resolves_and_grows(
            ends in prop::collection::btree_set(0_u64..100, 0..5),
            a in 0_u64..120,
            b in 0_u64..120,
        ) {
            let mut list = Generations::new(1);
            for (n, end) in ends.into_iter().enumerate() {
                list.begin(n as u64 + 2, end);
            }
            prop_assert_eq!(list.resolve(list.mint(a), 120), Some(a));
            prop_assert_eq!(list.mint(a).cmp(&list.mint(b)), a.cmp(&b));
            prop_assert_eq!(list.to_string().parse::<Generations>().unwrap(), list);
        }

        #[test]
        fn no_text_breaks_the_parser(text: String) {
            if let Ok(list) = text.parse::<Generations>() {
                prop_assert!(list.newest() <= MAX_NUMBER);
            }
        }
    }
}
