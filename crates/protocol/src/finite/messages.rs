//! JSON messages of a stream: as they are stored, one on each line, and as they are read, an array.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::MAX_DATA_BYTES;
use crate::json::{self, EncodingError, TooDeep};

/// Maximum length of a message, in bytes: readers get a message whole.
pub const MAX_MESSAGE_BYTES: usize = MAX_DATA_BYTES;

/// Why a body is not one or more messages.
#[derive(Debug, thiserror::Error)]
pub enum MessagesError {
    /// Not JSON text because of its encoding.
    #[error("the body {0}")]
    Encoding(#[from] EncodingError),
    /// Not JSON.
    #[error("the body is not valid JSON: {}", json::reason(.0))]
    Json(#[from] serde_json::Error),
    /// A message that is nested too deep.
    #[error(transparent)]
    Depth(#[from] TooDeep),
    /// A message that is too long.
    #[error(transparent)]
    Length(#[from] TooLong),
}

/// A message that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message has {0} bytes; at most {MAX_MESSAGE_BYTES} are allowed")]
pub struct TooLong(usize);

/// Returns the messages of a body, each on a line: the elements of an array, or the body itself. White space between tokens is
/// removed; everything else, like the digits of numbers, is unchanged.
///
/// # Errors
///
/// Fails if the body is not JSON, or if a message is nested too deep or too long.
pub fn lines(body: &[u8]) -> Result<Vec<u8>, MessagesError> {
    let text = json::text(body)?;
    let mut lines = Vec::with_capacity(text.len() + 1);
    if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('[') {
        let mut parser = serde_json::Deserializer::from_str(text);
        parser.deserialize_seq(Elements(&mut lines))?;
        parser.end()?;
    } else {
        add(&mut lines, serde_json::from_str(text)?)?;
    }
    Ok(lines)
}

fn add(lines: &mut Vec<u8>, message: &RawValue) -> Result<(), MessagesError> {
    let text = json::compact(message)?;
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(TooLong(text.len()).into());
    }
    lines.extend_from_slice(text.as_bytes());
    lines.push(b'\n');
    Ok(())
}

/// Adds the elements of an array one by one: a list of them may be much larger than their text.
struct Elements<'a>(&'a mut Vec<u8>);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(message) = elements.next_element::<&'de RawValue>()? {
            add(self.0, message).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// Returns the array of stored messages: whole lines.
pub fn array(lines: &[u8]) -> Vec<u8> {
    let mut array = Vec::with_capacity(lines.len() + 2);
    array.push(b'[');
    // The last line's end is the array's.
    let messages = lines.strip_suffix(b"\n").unwrap_or(lines);
    array.extend(messages.iter().map(|&byte| if byte == b'\n' { b',' } else { byte }));
    array.push(b']');
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(body: &str) -> String {
        String::from_utf8(lines(body.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn an_array_has_messages_and_anything_else_is_one() {
        for (body, lines) in [
            ("{\"a\": 1}", "{\"a\":1}\n"),
            (" [1, \"a\\nb\" , [2,3]]\n", "1\n\"a\\nb\"\n[2,3]\n"),
            ("[[1,2]]", "[1,2]\n"),
            ("[]", ""),
            ("12345678901234567890", "12345678901234567890\n"),
            ("{\n\"b\"\r\n:\t1.0}", "{\"b\":1.0}\n"),
        ] {
            assert_eq!(stored(body), lines, "{body}");
        }
        assert_eq!(array(stored("[1, 2,{\"a\": [3]}]").as_bytes()), b"[1,2,{\"a\":[3]}]");
        assert_eq!(array(b""), b"[]");
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in ["", "{", "[1,]", "1 2", "[1]x", "nul", "\u{feff}1"] {
            assert!(lines(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(matches!(lines(b"\"\xff\""), Err(MessagesError::Encoding(_))));
        let long = serde_json::to_vec(&"x".repeat(MAX_MESSAGE_BYTES)).unwrap();
        assert!(matches!(lines(&long), Err(MessagesError::Length(TooLong(length))) if length == long.len()));
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(lines(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_stored_reads_back(values in prop::collection::vec("[a-z\\n\"\\\\ ]{0,9}", 1..9)) {
            let body = serde_json::to_vec_pretty(&values).unwrap();
            let read = array(&lines(&body).unwrap());
            prop_assert_eq!(serde_json::from_slice::<Vec<String>>(&read).unwrap(), values);
        }
    }
}
