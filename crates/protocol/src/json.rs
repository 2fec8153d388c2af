//! JSON text that passes through: validated against RFC 8259 and otherwise unchanged.
//!
//! JSON data of a publisher is handled as text. It is never parsed into a tree: a tree has one value for each name,
//! rounds numbers, has one way to write a string, and `serde_json` treats some member names specially.
//! Only white space between tokens is removed, which RFC 8259, section 2, calls insignificant.

use std::fmt;

use memchr::memchr2;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

/// Maximum nesting depth of arrays and objects in data; many parsers of subscribers fail beyond it.
pub const MAX_DEPTH: usize = 128;

/// Maximum length of a parser's error, in characters: it may quote its input.
const MAX_DETAIL: usize = 300;

/// Bytes that are not JSON text because of their encoding (RFC 8259, section 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// A byte order mark in front of UTF-8.
    #[error("begins with a byte order mark (the bytes EF BB BF); JSON is UTF-8 without one")]
    ByteOrderMark,
    /// A byte order mark of UTF-16 or UTF-32.
    #[error("begins with a byte order mark of UTF-16 or UTF-32; JSON is UTF-8 without one")]
    Wide,
    /// Not UTF-8.
    #[error("is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset of the first invalid byte.
        at: usize,
    },
}

/// Data that is nested too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the JSON is nested more than {MAX_DEPTH} levels deep")]
pub struct TooDeep;

/// Returns the text of a JSON document.
///
/// # Errors
///
/// Fails if they begin with a byte order mark or are not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, EncodingError> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Err(EncodingError::ByteOrderMark),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 0, 0xfe, 0xff, ..] => Err(EncodingError::Wide),
        bytes => {
            std::str::from_utf8(bytes).map_err(|error| EncodingError::NotUtf8 { at: error.valid_up_to() })
        }
    }
}

/// Returns a value's text without white space between its tokens; everything else is unchanged.
///
/// Allocates once, with the value's length, and uses no stack for nesting.
///
/// # Errors
///
/// Fails if the value is nested more than [`MAX_DEPTH`] levels deep.
pub fn compact(value: &RawValue) -> Result<String, TooDeep> {
    let text = value.get();
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    // The bytes between `from` and `at` are to be copied.
    let (mut depth, mut from, mut at) = (0, 0, 0);
    // The text is valid JSON, so bytes outside of strings are ASCII and strings end.
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.push_str(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            b'[' | b'{' if depth == MAX_DEPTH => return Err(TooDeep),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Ok(out)
}

/// Returns the offset behind the string that begins at `from`.
fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// A value that must be an object, deserialized by member names.
///
/// A derived `Deserialize` of a struct also accepts an array, with the members in the order of declaration. The API
/// does not allow that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByName<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ByName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Object(deserializer)).map(Self)
    }
}

/// Accepts only an object.
struct Object<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Parses a text that is one object.
///
/// # Errors
///
/// Fails if the text is not an object of this type.
pub fn object<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).map(|ByName(object)| object)
}

/// Returns why a text is not an object of type `T`: the member, and what is wrong with it. Without the place, which
/// readers would look for in a larger text. Reads the text again, so that texts without faults are read faster.
pub fn fault<'de, T: Deserialize<'de>>(text: &'de str) -> String {
    described::<T>(text, reason)
}

/// Like [`fault`], for texts whose values must not be shown: names the member and what it must be, not what it is.
pub fn fault_without_value<'de, T: Deserialize<'de>>(text: &'de str) -> String {
    described::<T>(text, |error| {
        let text = without_place(error);
        let has_value = text.starts_with("invalid type: ") || text.starts_with("invalid value: ");
        match text.rsplit_once(", expected ") {
            Some((_, expected)) if has_value => shortened(format!("expected {expected}")),
            _ if has_value => "another value is expected".to_owned(),
            _ => shortened(text),
        }
    })
}

fn described<'de, T: Deserialize<'de>>(
    text: &'de str,
    reason: impl FnOnce(&serde_json::Error) -> String,
) -> String {
    let mut json = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, ByName<T>>(&mut json) {
        Ok(_) => "there is more text after the object".to_owned(),
        Err(error) => {
            let (member, reason) = (error.path().to_string(), reason(error.inner()));
            // A member that is missing or unknown has no path.
            if member == "." { reason } else { shortened(format!("{member}: {reason}")) }
        }
    }
}

/// Returns the text of a parser's error without the place, and without more than a piece of what was read.
pub fn reason(error: &serde_json::Error) -> String {
    shortened(without_place(error))
}

fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// Returns the text of a parser's error without more than a piece of what was read.
pub(crate) fn brief(error: &serde_json::Error) -> String {
    shortened(error.to_string())
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_DETAIL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The items of an array; a bounded number is kept.
#[derive(Debug)]
pub struct Items<'a> {
    /// The first items.
    pub kept: Vec<&'a RawValue>,
    /// Number of all items.
    pub count: usize,
}

impl<'a> Items<'a> {
    /// Parses a text that is one array, and keeps its first `most` items.
    ///
    /// # Errors
    ///
    /// Fails if the text is not an array.
    pub fn read(text: &'a str, most: usize) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let items = json.deserialize_seq(Keep { most })?;
        json.end()?;
        Ok(items)
    }
}

struct Keep {
    most: usize,
}

impl<'de> Visitor<'de> for Keep {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
        let mut items = Items { kept: Vec::new(), count: 0 };
        while let Some(item) = seq.next_element::<&'de RawValue>()? {
            items.count += 1;
            if items.kept.len() < self.most {
                items.kept.push(item);
            }
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compacted(text: &str) -> String {
        compact(serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn only_white_space_between_tokens_is_removed() {
        for text in [
            "1E5",
            "1.0",
            "-0",
            "1e400",
            "123456789012345678901234567890.10",
            r#"{"a":1,"a":2}"#,
            r#"{"b":1,"a":2}"#,
            r#""\u0041\/ \" \\""#,
            r#"["\ud800"]"#,
            r#"{"$serde_json::private::Number":"42"}"#,
            r#"{"$serde_json::private::RawValue":"{\"admin\":true}"}"#,
            r#"[{"x":{"$serde_json::private::RawValue":"[1, 2]"}}]"#,
            r#"{"":[[],{}, "é \t\\"]}"#,
        ] {
            let without = text.replace(", \"é", ",\"é");
            assert_eq!(compacted(text), without);
        }
        assert_eq!(compacted(" { \"a b\" :\t[ 1 ,\r\n2 ] } "), r#"{"a b":[1,2]}"#);
        assert_eq!(compacted(r#"["\\" , "\"" , " "]"#), r#"["\\","\""," "]"#);
    }

    #[test]
    fn depth_is_bounded_without_a_stack() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(compacted(&nested(MAX_DEPTH)).len(), 2 * MAX_DEPTH);
        for depth in [MAX_DEPTH + 1, 1_000_000] {
            let text = nested(depth);
            assert_eq!(compact(serde_json::from_str(&text).unwrap()), Err(TooDeep));
        }
        assert_eq!(compacted(&format!("[{}]", vec!["[]"; 1000].join(" , "))).len(), 3001);
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        assert_eq!(text(b"\xef\xbb\xbf{}"), Err(EncodingError::ByteOrderMark));
        assert_eq!(text(b"\xff\xfe{\0"), Err(EncodingError::Wide));
        assert_eq!(text(b"\xfe\xff\0{"), Err(EncodingError::Wide));
        assert_eq!(text(b"{\"\xff"), Err(EncodingError::NotUtf8 { at: 2 }));
        assert_eq!(text("{\u{feff}}".as_bytes()), Ok("{\u{feff}}"));
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(Debug, serde::Deserialize, PartialEq, Eq)]
        struct Pair {
            a: u8,
            b: u8,
        }
        assert_eq!(object::<Pair>(r#"{"b":2,"a":1}"#).unwrap(), Pair { a: 1, b: 2 });
        assert!(object::<Pair>("[1,2]").is_err());
        assert_eq!(serde_json::from_str::<Pair>("[1,2]").unwrap(), Pair { a: 1, b: 2 }, "why this is here");
    }

    #[test]
    fn a_fault_may_be_described_without_the_value() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only its form matters")]
        struct Form {
            number: u64,
            list: Option<Vec<bool>>,
        }
        let long = "hush, expected ".repeat(100);
        for (text, said) in [
            (r#"{"number":"hush"}"#.to_owned(), "number: expected u64"),
            (format!(r#"{{"number":"{long}"}}"#), "number: expected u64"),
            (r#"{"number":1,"list":[true,"hush"]}"#.to_owned(), "list[1]: expected a boolean"),
            (r#"{"number":-77}"#.to_owned(), "number: expected u64"),
            (r#"{"list":[]}"#.to_owned(), "missing field `number`"),
            (r#"["hush"]"#.to_owned(), "expected struct Form"),
            (r#"{"number":1} hush"#.to_owned(), "there is more text after the object"),
        ] {
            assert_eq!(fault_without_value::<Form>(&text), said, "{text}");
        }
        assert!(fault::<Form>(r#"{"number":"seen"}"#).contains("seen"), "why this is here");
    }

    proptest! {
        #[test]
        fn compact_text_means_the_same_and_is_compact(texts: Vec<String>, spaces in "[ \t\r\n]{0,3}") {
            let strings: Vec<_> = texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
            let spaced = format!("{spaces}[{spaces}{}{spaces}]{spaces}", strings.join(&format!("{spaces},{spaces}")));
            prop_assert_eq!(compacted(&spaced), format!("[{}]", strings.join(",")));
        }
    }
}
