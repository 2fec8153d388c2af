//! The messages that wake a stream's readers.
//!
//! They are sent on the live topic of the channel `stream:<name>`, by the scripts that change the stream:
//!
//! ```text
//! <generation> <start> <tail> <state>\n<bytes>
//! ```
//!
//! `start` and `tail` are the places of the appended bytes in the stream. The bytes may be left out if there are many.

use bytes::Bytes;

/// The state of a stream after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Bytes can be appended.
    Open,
    /// It has ended.
    Closed,
    /// It was deleted.
    Deleted,
}

/// A change of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The newest generation.
    pub generation: u64,
    /// The place of the first appended byte.
    pub start: u64,
    /// The number of the stream's bytes.
    pub tail: u64,
    /// The state.
    pub state: State,
    /// The appended bytes; empty if they are left out.
    pub bytes: Bytes,
}

/// A message that is not of this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("messages about a finite stream come from the scripts of nodes only")]
pub struct ChangeError;

impl State {
    fn letter(self) -> &'static str {
        match self {
            Self::Open => "o",
            Self::Closed => "c",
            Self::Deleted => "d",
        }
    }
}

impl Change {
    /// Parses a message.
    ///
    /// # Errors
    ///
    /// Fails if the message has another form, or if its bytes are not those between its places.
    pub fn parse(message: &Bytes) -> Result<Self, ChangeError> {
        let end = memchr::memchr(b'\n', message).ok_or(ChangeError)?;
        let head = std::str::from_utf8(&message[..end]).map_err(|_| ChangeError)?;
        let mut words = head.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (generation, start, tail): (Option<u64>, Option<u64>, Option<u64>) =
            (number(), number(), number());
        let state = match (words.next(), words.next()) {
            (Some("o"), None) => State::Open,
            (Some("c"), None) => State::Closed,
            (Some("d"), None) => State::Deleted,
            _ => return Err(ChangeError),
        };
        let (Some(generation), Some(start), Some(tail)) = (generation, start, tail) else {
            return Err(ChangeError);
        };
        let bytes = message.slice(end + 1..);
        let is_whole = bytes.is_empty() || tail.checked_sub(start) == Some(bytes.len() as u64);
        if start > tail || !is_whole {
            return Err(ChangeError);
        }
        Ok(Self { generation, start, tail, state, bytes })
    }

    /// Returns the message.
    pub fn encode(&self) -> Vec<u8> {
        let Self { generation, start, tail, state, bytes } = self;
        let mut message = format!("{generation} {start} {tail} {}\n", state.letter()).into_bytes();
        message.extend_from_slice(bytes);
        message
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_change_reads_back(generation: u64, start in 0..u64::MAX / 2, bytes: Vec<u8>, left_out: bool, state in 0..3_usize) {
            let tail = start + bytes.len() as u64;
            let bytes = if left_out { Bytes::new() } else { bytes.into() };
            let state = [State::Open, State::Closed, State::Deleted][state];
            let change = Change { generation, start, tail, state, bytes };
            prop_assert_eq!(Change::parse(&change.encode().into()), Ok(change));
        }

        #[test]
        fn no_message_breaks_the_parser(message: Vec<u8>) {
            let _ = Change::parse(&message.into());
        }
    }

    #[test]
    fn another_form_is_refused() {
        for bad in [
            "",
            "1 0 3 o",
            "1 0 3 o\nab",
            "1 3 0 o\n",
            "1 0 3 x\nabc",
            "1 0 3 o c\nabc",
            "1 0 o\n",
            "-1 0 0 o\n",
        ] {
            assert_eq!(Change::parse(&Bytes::from(bad)), Err(ChangeError), "{bad}");
        }
    }
}
