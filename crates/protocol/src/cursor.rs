//! The client's positions in all its channels, with which it resumes a stream.
//!
//! The cursor of a stream that follows one channel is that channel's position, in plain text. A stream that follows
//! several channels has a compact text:
//!
//! ```text
//! "a" base64url( check , varint(latest ms) , entries… )    entries in ascending order of their tags
//! entry = tag (6 bytes, big endian) , varint(latest ms - ms) , varint(seq)
//! ```
//!
//! The letter is the version of the format. `check` is the lowest byte of the FNV-1a hash of the bytes after it,
//! which detects a truncated cursor. A varint is LEB128: seven bits per byte, lowest first. Cursors are opaque to
//! clients.

use std::hash::Hasher;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Channel, Position};

/// Maximum number of channels in a cursor.
pub const MAX_CURSOR_CHANNELS: usize = 256;
/// Maximum length of a cursor, in bytes.
pub const MAX_CURSOR_BYTES: usize = longest(MAX_CURSOR_CHANNELS);

/// Minimum length of the compact form: check, time, and one entry.
const MIN_COMPACT_BYTES: usize = 1 + 14;
/// Number of characters of a text that an error shows.
const EXCERPT_CHARS: usize = 40;
/// Texts that programs write for a missing value, in lower case.
const MISSING: [&str; 14] = [
    "null",
    "undefined",
    "nan",
    "none",
    "nil",
    "(null)",
    "<nil>",
    "<null>",
    "true",
    "false",
    "[object object]",
    "infinity",
    "undefined-undefined",
    "",
];
/// Words that other servers accept as a start position, in lower case.
const PLACES: [&str; 8] = ["latest", "earliest", "newest", "oldest", "first", "last", "now", "$"];

const VERSION: char = 'a';
const TAG_BYTES: usize = 6;
/// Maximum length of a 64-bit number as a varint.
const VARINT_BYTES: usize = 10;

/// Returns the maximum length of the cursor of a stream that follows this number of channels, in bytes: what a URL
/// must leave room for.
pub const fn longest(channels: usize) -> usize {
    let raw = 1 + VARINT_BYTES + channels * (TAG_BYTES + 2 * VARINT_BYTES);
    1 + (raw * 4).div_ceil(3)
}

/// A client's position in the one channel that it follows, or in each of several channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The position in the only channel followed.
    One(Position),
    /// A position for each channel, by its tag ([`Channel::tag`]), in ascending order.
    Many(Vec<(u64, Position)>),
}

/// Why a text is not a valid cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Neither of the two forms.
    #[error(
        "{0} is not a cursor: a cursor is a position like 1718031234567-3, or the value of an earlier id: field"
    )]
    Form(Excerpt),
    /// A text that programs write for a missing value.
    #[error(
        "the cursor is the text {0}, which stands for a missing value: send the id: of the last event received, \
         or no cursor at all"
    )]
    Missing(Excerpt),
    /// A word for a start position in place of a cursor.
    #[error(
        "the cursor is the word {0}: a stream starts at the end or at the oldest event with \
         after=latest or after=earliest; Last-Event-ID takes the id: of an earlier event only"
    )]
    Place(Excerpt),
    /// Longer than [`MAX_CURSOR_BYTES`].
    #[error("the cursor is too long; at most {MAX_CURSOR_BYTES} bytes are allowed")]
    TooLong,
    /// An unknown version of the format.
    #[error(
        "{0} is not a cursor that this node can read: its first letter is an unknown version. Either a newer \
         node wrote it, or it is not the value of an id: field"
    )]
    Version(Excerpt),
    /// A damaged compact form.
    #[error("the cursor {0} is damaged: {1}")]
    Damaged(Excerpt, &'static str),
}

/// The beginning of a text, as shown in errors. Displays in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// Keeps the first 40 characters.
    pub fn of(text: &str) -> Self {
        let mut shown: String = text.chars().take(EXCERPT_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl std::fmt::Display for Excerpt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Cursor {
    /// Parses a cursor.
    ///
    /// # Errors
    ///
    /// Fails if the text is not exactly one of the two forms. Nothing is guessed.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        if text.len() > MAX_CURSOR_BYTES {
            return Err(CursorError::TooLong);
        }
        let shown = || Excerpt::of(text);
        match text.chars().next() {
            Some('0'..='9') => text.parse().map(Self::One).map_err(|_| CursorError::Form(shown())),
            _ if is_missing(text) => Err(CursorError::Missing(shown())),
            _ if is_place(text) => Err(CursorError::Place(shown())),
            Some(VERSION) => parse_many(&text[1..]).map_err(|why| CursorError::Damaged(shown(), why)),
            Some('b'..='z') if may_be_compact(text) => Err(CursorError::Version(shown())),
            _ => Err(CursorError::Form(shown())),
        }
    }

    /// Returns the position for a channel, if the cursor is a [`Cursor::Many`] that contains it.
    pub fn position_in(&self, channel: &Channel) -> Option<Position> {
        match self {
            Self::One(_) => None,
            Self::Many(entries) => {
                let found = entries.binary_search_by_key(&channel.tag(), |&(tag, _)| tag).ok()?;
                Some(entries[found].1)
            }
        }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        match self {
            Self::One(position) => write_one(&mut text, *position),
            Self::Many(entries) => write_many(&mut text, entries.iter().copied()),
        }
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Appends the cursor of a stream that follows one channel.
pub fn write_one(out: &mut Vec<u8>, position: Position) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(number.format(position.ms).as_bytes());
    out.push(b'-');
    out.extend_from_slice(number.format(position.seq).as_bytes());
}

/// Appends the cursor of a stream that follows several channels, given in ascending order of their tags.
pub fn write_many<I>(out: &mut Vec<u8>, entries: I)
where
    I: Iterator<Item = (u64, Position)> + Clone,
{
    let latest = entries.clone().map(|(_, position)| position.ms).max().unwrap_or_default();
    let mut raw = Vec::with_capacity(64);
    raw.push(0);
    write_varint(&mut raw, latest);
    for (tag, position) in entries {
        raw.extend_from_slice(&tag.to_be_bytes()[8 - TAG_BYTES..]);
        write_varint(&mut raw, latest - position.ms);
        write_varint(&mut raw, position.seq);
    }
    raw[0] = check(&raw[1..]);
    out.push(VERSION as u8);
    let start = out.len();
    out.resize(start + raw.len().div_ceil(3) * 4, 0);
    // The buffer has the size of the padded form, so it is always large enough.
    let written = URL_SAFE_NO_PAD.encode_slice(&raw, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
}

/// Returns whether it is what a program writes for a missing value, perhaps in quotes. An empty text is, inside
/// quotes only.
fn is_missing(text: &str) -> bool {
    let bare = text.trim_matches(['"', '\'']);
    !text.is_empty() && MISSING.iter().any(|word| bare.eq_ignore_ascii_case(word))
}

fn is_place(text: &str) -> bool {
    PLACES.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Returns whether a text could be the compact form of another version, by its characters and length.
fn may_be_compact(text: &str) -> bool {
    text.len() >= MIN_COMPACT_BYTES
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn parse_many(text: &str) -> Result<Cursor, &'static str> {
    let raw = URL_SAFE_NO_PAD.decode(text).map_err(|_| "it is not base64url without padding")?;
    let Some((&first, mut rest)) = raw.split_first() else {
        return Err("it ends too early");
    };
    if first != check(rest) {
        return Err("its check does not fit");
    }
    let latest = read_varint(&mut rest)?;
    let mut entries: Vec<(u64, Position)> = Vec::new();
    while !rest.is_empty() {
        let (tag, after) = rest.split_at_checked(TAG_BYTES).ok_or("it ends too early")?;
        rest = after;
        let tag = tag.iter().fold(0, |sum, &byte| (sum << 8) | u64::from(byte));
        let ms = latest.checked_sub(read_varint(&mut rest)?).ok_or("a time lies before 1970")?;
        let seq = read_varint(&mut rest)?;
        if entries.last().is_some_and(|&(last, _)| last >= tag) {
            return Err("its channels are out of order");
        }
        if entries.len() == MAX_CURSOR_CHANNELS {
            return Err("it names too many channels");
        }
        entries.push((tag, Position { ms, seq }));
    }
    if entries.is_empty() {
        return Err("it names no channel");
    }
    Ok(Cursor::Many(entries))
}

fn check(raw: &[u8]) -> u8 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(raw);
    hasher.finish().to_le_bytes()[0]
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn read_varint(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or("it ends too early")?;
        *rest = after;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number is too large")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn positions() -> impl Strategy<Value = Position> {
        (any::<u64>(), any::<u64>()).prop_map(|(ms, seq)| Position { ms, seq })
    }

    proptest! {
        #[test]
        fn a_cursor_of_one_channel_reads_back(position in positions()) {
            let cursor = Cursor::One(position);
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }

        #[test]
        fn a_cursor_of_several_channels_reads_back(
            entries in prop::collection::btree_map(0..1u64 << 48, positions(), 1..100)
        ) {
            let entries: BTreeMap<u64, Position> = entries;
            let cursor = Cursor::Many(entries.into_iter().collect());
            let text = cursor.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(Cursor::parse(&text), Ok(cursor));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,80}", tail in "a[A-Za-z0-9_-]{0,80}") {
            let _ = Cursor::parse(&text);
            let _ = Cursor::parse(&tail);
        }

        #[test]
        fn a_user_and_broadcast_take_48_bytes_at_most(
            ms in 1_600_000_000_000u64..2_100_000_000_000, age in 0u64..2_100_000_000_000, seq in 0u64..16_000
        ) {
            let entries = vec![
                (1, Position { ms, seq }),
                (2, Position { ms: ms.saturating_sub(age), seq }),
            ];
            prop_assert!(Cursor::Many(entries).to_string().len() <= 48);
        }
    }

    #[test]
    fn no_cursor_is_longer_than_the_longest() {
        for channels in 1..=MAX_CURSOR_CHANNELS {
            // The oldest has the longest distance to the newest.
            let far = (0..)
                .take(channels)
                .map(|tag| (tag, Position { ms: if tag == 0 { u64::MAX } else { 0 }, seq: u64::MAX }));
            let text = Cursor::Many(far.collect()).to_string();
            let longest = longest(channels);
            assert!((longest - 12..=longest).contains(&text.len()), "{channels}: {}", text.len());
            assert!(Cursor::parse(&text).is_ok());
        }
        assert!(Cursor::One(Position { ms: u64::MAX, seq: u64::MAX }).to_string().len() <= longest(1));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let good = Cursor::Many(vec![(1, Position::new(5, 0)), (2, Position::new(4, 1))]).to_string();
        for end in 1..good.len() {
            assert!(Cursor::parse(&good[..end]).is_err() || end == 16, "{}", &good[..end]);
        }
        assert_eq!(Cursor::parse(""), Err(CursorError::Form(Excerpt::of(""))));
        assert_eq!(Cursor::parse("12x"), Err(CursorError::Form(Excerpt::of("12x"))));
        assert_eq!(Cursor::parse(&"1".repeat(9000)), Err(CursorError::TooLong));
        assert!(Cursor::parse("a").is_err());
    }

    #[test]
    fn an_error_names_what_was_sent_and_blames_a_newer_node_only_for_what_it_could_have_written() {
        for (text, wanted) in [
            ("null", "missing value"),
            ("undefined", "missing value"),
            ("NaN", "missing value"),
            ("None", "missing value"),
            ("\"undefined\"", "missing value"),
            ("\"\"", "missing value"),
            ("''", "missing value"),
            ("[object Object]", "missing value"),
            ("latest", "after=latest"),
            ("Earliest", "after=earliest"),
            ("$", "after=latest"),
            ("z123", "not a cursor: a cursor is"),
            ("some words", "not a cursor: a cursor is"),
            ("\"17-3\"", "not a cursor: a cursor is"),
            ("ünï", "not a cursor: a cursor is"),
            ("abandoned", "damaged"),
            ("bBxhY2RlZmdoaWprbA", "newer node"),
        ] {
            let error = Cursor::parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
            assert!(error.contains(&format!("{text:?}")), "{text}: {error}");
            assert_eq!(error.contains("newer"), wanted.contains("newer"), "{text}: {error}");
        }
        let long = Cursor::parse(&"x".repeat(5000)).unwrap_err().to_string();
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn a_channel_that_the_cursor_does_not_name_has_no_position() {
        let (one, other) = (Channel::new("room:1").unwrap(), Channel::new("room:2").unwrap());
        let cursor = Cursor::Many(vec![(one.tag(), Position::new(7, 0))]);
        assert_eq!(cursor.position_in(&one), Some(Position::new(7, 0)));
        assert_eq!(cursor.position_in(&other), None);
    }
}
