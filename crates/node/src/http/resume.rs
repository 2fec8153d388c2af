//! The start of a stream: the header `Last-Event-ID`, then its query parameters, then `after=`.
//!
//! A native `EventSource` sends the header. Libraries that cannot set a header across origins send the same cursor as
//! a parameter: `event-source-polyfill` and `reconnecting-eventsource` as `lastEventId=`, others as `lastEventID=`,
//! `last_event_id=` or `Last-Event-ID=`.

use fanfare_protocol::Cursor;
use fanfare_protocol::cursor::{CursorError, Excerpt};
use fanfare_protocol::start::Start;
use http::HeaderMap;
use http::header::HeaderName;

use super::problem::{Code, Problem};

/// `Last-Event-ID`, by the WHATWG HTML standard, section 9.2.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The parameter's name in lower case, without `-` and `_`.
const PARAMETER: &str = "lasteventid";

/// Returns whether a parameter carries a cursor under one of the names that libraries use.
pub(super) fn is_cursor_parameter(name: &str) -> bool {
    // Long names need no comparison.
    if name.len() > 2 * PARAMETER.len() {
        return false;
    }
    let letters = name.bytes().filter(|b| !matches!(b, b'-' | b'_')).map(|b| b.to_ascii_lowercase());
    letters.eq(PARAMETER.bytes())
}

/// Returns the start of a stream. `parameters` are the values of cursor parameters in the order of the query, `after`
/// is the value of `after=`. An empty value counts as missing.
///
/// # Errors
///
/// Fails if the value that takes precedence is invalid. Nothing is guessed.
pub(super) fn start<'a>(
    headers: &HeaderMap,
    parameters: impl DoubleEndedIterator<Item = &'a str>,
    after: Option<&str>,
) -> Result<Start, Problem> {
    // A library appends its cursor to a URL that may have an older one.
    let newest = parameters.map(trim).rfind(|text| !text.is_empty());
    Ok(match header(headers)?.or(newest) {
        Some(text) => Start::Cursor(Cursor::parse(text)?),
        None => match after.map(trim) {
            None | Some("") => Start::default(),
            Some(text) => Start::parse(text)?,
        },
    })
}

/// Returns whether a request resumes a stream: by the header, or by one of its parameters.
pub(super) fn resumes<'a>(headers: &HeaderMap, mut parameters: impl Iterator<Item = &'a str>) -> bool {
    // An invalid header is refused later.
    header(headers).is_ok_and(|text| text.is_some()) || parameters.any(|text| !trim(text).is_empty())
}

/// Returns the header's value, if it has one. Lines with several values are one list (RFC 9110, section 5.3): the
/// same cursor twice is one cursor.
fn header(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut found: Option<&str> = None;
    for line in headers.get_all(LAST_EVENT_ID) {
        // Clients send UTF-8 (WHATWG HTML, section 9.2.2), and a cursor is ASCII.
        let line = std::str::from_utf8(line.as_bytes())
            .map_err(|_| CursorError::Form(Excerpt::of(&String::from_utf8_lossy(line.as_bytes()))))?;
        for text in line.split(',').map(trim).filter(|text| !text.is_empty()) {
            if found.is_some_and(|before| before != text) {
                let detail = "the header Last-Event-ID has two different values: send one cursor";
                return Err(Problem::new(Code::BadCursor, detail));
            }
            found = Some(text);
        }
    }
    Ok(found)
}

/// Trims white space, which no cursor has.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Position;
    use http::HeaderValue;

    use super::*;

    fn at(ms: u64) -> Start {
        Start::Cursor(Cursor::One(Position::new(ms, 0)))
    }

    fn read(lines: &[&[u8]], parameters: &[&str], after: Option<&str>) -> Result<Start, String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(LAST_EVENT_ID, HeaderValue::from_bytes(line).unwrap());
        }
        let read = start(&headers, parameters.iter().copied(), after);
        read.map_err(|problem| format!("{:?} {}", problem.code, problem.detail))
    }

    #[test]
    fn the_header_wins_then_the_last_parameter_then_after() {
        assert_eq!(read(&[b"1-0"], &["2-0"], Some("3-0")), Ok(at(1)));
        assert_eq!(read(&[], &["9-0", "2-0", ""], Some("3-0")), Ok(at(2)));
        assert_eq!(read(&[b""], &["", " "], Some("3-0")), Ok(at(3)));
        assert_eq!(read(&[b" ", b""], &[], Some("earliest")), Ok(Start::Earliest));
        assert_eq!(read(&[], &[""], Some("")), Ok(Start::Latest));
        assert_eq!(read(&[], &[], None), Ok(Start::Latest));
        // What does not count is not read.
        assert_eq!(read(&[b"1-0"], &["undefined"], Some("undefined")), Ok(at(1)));
    }

    #[test]
    fn one_cursor_sent_twice_is_one_and_two_are_refused() {
        assert_eq!(read(&[b"1-0", b"1-0"], &[], None), Ok(at(1)));
        assert_eq!(read(&[b"1-0, 1-0,"], &[], None), Ok(at(1)));
        assert!(read(&[b"1-0", b"2-0"], &[], None).unwrap_err().contains("two different"));
        assert!(read(&[b"1-0, 2-0"], &[], None).unwrap_err().contains("two different"));
    }

    #[test]
    fn what_is_no_cursor_is_refused_and_shown() {
        for (line, word) in
            [(&b"\xc3\xbc"[..], "\"ü\""), (b"\xff", "\"\u{fffd}\""), (b"undefined", "missing value")]
        {
            let error = read(&[line], &[], None).unwrap_err();
            assert!(error.starts_with("BadCursor") && error.contains(word), "{error}");
        }
        assert!(read(&[], &["latest"], None).unwrap_err().contains("after=latest"));
    }

    #[test]
    fn every_spelling_of_the_parameter_is_known() {
        for name in ["lastEventId", "lastEventID", "last_event_id", "last-event-id", "Last-Event-ID"] {
            assert!(is_cursor_parameter(name), "{name}");
        }
        for name in
            ["lastevent", "lasteventids", "last", "", "lastEventId ", "l-a-s-t-e-v-e-n-t-i-d-------------"]
        {
            assert!(!is_cursor_parameter(name), "{name}");
        }
    }
}
