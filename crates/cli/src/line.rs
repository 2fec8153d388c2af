//! An event as a line for people.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::{Duration, SystemTime};

/// Text that cannot play tricks on a terminal: control characters but tabs are shown by their escapes, and
/// further lines are indented under the first.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\n    "),
            '\t' => out.push('\t'),
            // Writing into memory does not fail.
            c if c.is_control() => drop(write!(out, "{}", c.escape_default())),
            c => out.push(c),
        }
    }
    out.into()
}

/// A moment in Unix milliseconds as RFC 3339 in UTC.
pub(crate) fn moment(ms: u64) -> String {
    // Year 9999 is the last that the form has; nothing real lies beyond.
    let latest = 253_402_300_799_999;
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(latest)))
        .to_string()
}

/// How long ago a moment in Unix milliseconds was, in its two largest units.
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
    fn any_number_is_a_moment() {
        assert_eq!(moment(1_718_031_234_567), "2024-06-10T14:53:54.567Z");
        assert_eq!(moment(u64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(ago(u64::MAX), "0s");
    }
}
