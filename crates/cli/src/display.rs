//! Output lines that are safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use serde::Serialize;

/// Returns text that is safe for a terminal: escapes control characters other than tabs, and characters that change
/// the direction of text. Indents further lines.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c == '\n' || is_tricky(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\n    "),
            // Writing into memory does not fail.
            c if is_tricky(c) => drop(write!(out, "{}", c.escape_default())),
            c => out.push(c),
        }
    }
    out.into()
}

/// Returns one line of JSON that is safe for a terminal and has no other line separators. JSON itself escapes only
/// the first 32 control characters. The line decodes to the same value.
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    if !text.chars().any(is_tricky) {
        return Ok(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // These characters are within strings only, and none is beyond U+FFFF.
        match c {
            c if is_tricky(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Control characters but tab and line feed (C0, DEL and C1); marks, embeddings, overrides and isolates of direction
/// (Unicode Standard Annex 9, section 2); the separators of lines and paragraphs.
fn is_tricky(c: char) -> bool {
    (c.is_control() && c != '\t' && c != '\n')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Formats Unix milliseconds as RFC 3339 in UTC.
pub(crate) fn moment(ms: u64) -> String {
    // Year 9999 is the last one of the format.
    let latest = 253_402_300_799_999;
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(latest)))
        .to_string()
}

/// Formats the age of a moment in Unix milliseconds, in its two largest units.
pub(crate) fn ago(ms: u64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(253_402_300_799_999));
    let age = then.elapsed().unwrap_or_default();
    let text = humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_cannot_play_tricks_on_a_terminal() {
        assert_eq!(visible("a\tb"), "a\tb");
        assert_eq!(visible("one\ntwo"), "one\n    two");
        assert_eq!(visible("\u{1b}[2Jx\r\u{9b}"), "\\u{1b}[2Jx\\r\\u{9b}");
    }

    #[test]
    fn c1_controls_and_text_that_turns_around_are_shown_by_their_escapes() {
        let tricks = "a\u{9b}31m\u{85}\u{7f}b\u{202e}gpj\u{2066}\u{2069}\u{200f}\u{61c}\u{2028}c";
        let shown = visible(tricks);
        assert_eq!(
            shown,
            "a\\u{9b}31m\\u{85}\\u{7f}b\\u{202e}gpj\\u{2066}\\u{2069}\\u{200f}\\u{61c}\\u{2028}c"
        );
        // Other letters of other scripts stay, and so do joiners.
        let honest = "\u{5d0}\u{627}\u{1f469}\u{200d}\u{1f4bb}\u{fc}";
        assert_eq!(visible(honest), honest);
    }

    #[test]
    fn json_has_no_tricky_character_and_reads_back() {
        let value =
            serde_json::json!({ "data": "\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{2028}\t\u{fc}\"\\", "\u{85}": 1 });
        let line = json(&value).unwrap();
        assert!(!line.chars().any(|c| c.is_control() || is_tricky(c)), "{line}");
        assert!(line.contains("\\u009b") && line.contains("\\u202e") && line.contains('\u{fc}'), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), value);
    }

    #[test]
    fn any_number_is_a_moment() {
        assert_eq!(moment(1_718_031_234_567), "2024-06-10T14:53:54.567Z");
        assert_eq!(moment(u64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(ago(u64::MAX), "0s");
    }
}
