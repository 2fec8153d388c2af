//! Size limit of a request's head: `limits.head_bytes`.
//!
//! The same limit applies to a node and to the load balancers in front of it. A native `EventSource` repeats its URL
//! at each reconnect and adds its cursor, and a refusal ends it permanently. So a stream is checked for what its
//! reconnects will need: an accepted URL leaves room for the longest cursor of its channels; otherwise the first
//! connect is refused.

use bytesize::ByteSize;
use fanfare_config::bytes;
use fanfare_protocol::cursor::{self, MAX_CURSOR_BYTES};
use http::header::COOKIE;
use http::{HeaderMap, Method, Uri};

use super::problem::{Code, Problem};

/// Bytes reserved for the header fields of a stream's request, without the cursor: cookies and tokens change between
/// two connects, and must not cause a refusal.
pub const FIELDS: usize = 8 * 1024;
/// Bytes that load balancers may add to a request, which do not count.
const ADDED: usize = 1024;
/// Bytes beyond the limit up to which a head is read: a second cursor, since a client may send one in the query and
/// one in the header, and the additions of load balancers. Beyond that the HTTP library responds, without a reason.
pub const BEYOND: usize = MAX_CURSOR_BYTES.next_multiple_of(4096) + 4096;

/// Maximum number of fields of a head, over HTTP/1.1 and HTTP/2: 100 of the client, and what load balancers add.
pub const MAX_FIELDS: usize = 110;
/// Number of fields up to which a head is read over HTTP/1.1, and for which there is room over HTTP/2, so that a head beyond
/// the limit is refused with a reason. Beyond that the HTTP library responds, without one.
pub const FIELDS_READ: usize = 160;

/// Parameters with a cursor or a start position.
const CURSORS: [&str; 5] = ["after", "lastEventId", "lastEventID", "last_event_id", "last-event-id"];
/// The header with a cursor.
const LAST_EVENT_ID: &str = "last-event-id";

/// Returns the size of a head on an HTTP/1.1 connection, in bytes, the empty line included.
pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> usize {
    let target = uri.path_and_query().map_or(1, |target| target.as_str().len());
    line(method.as_str().len() + target) + fields(headers, |_| true) + 2
}

/// Checks the size of a head.
///
/// # Errors
///
/// Fails if the head exceeds the limit.
pub fn check(size: usize, limit: ByteSize) -> Result<(), Problem> {
    if size <= bytes(limit) {
        return Ok(());
    }
    let detail = format!(
        "the request's head has {size} bytes; the limit for the request line and all fields is {} (limits.head_bytes)",
        limit.as_u64()
    );
    Err(Problem::new(Code::HeadTooLarge, detail))
}

/// Checks the number of fields of a head. A browser sends each cookie in its own field over HTTP/2 (RFC 9113, section
/// 8.2.3), so all cookies count as one.
///
/// # Errors
///
/// Fails if there are more than [`MAX_FIELDS`].
pub fn check_fields(headers: &HeaderMap) -> Result<(), Problem> {
    let cookies = headers.get_all(COOKIE).iter().count();
    let fields = headers.len() - cookies.saturating_sub(1);
    if fields <= MAX_FIELDS {
        return Ok(());
    }
    let detail = format!("the request has {fields} header fields; the limit is {MAX_FIELDS}");
    Err(Problem::new(Code::HeadTooLarge, detail))
}

/// Checks the head of a stream with this number of channels, in the same way for the first connect and for each
/// reconnect: the longest possible cursor counts, in place of the cursors in the request.
///
/// # Errors
///
/// Fails if the head leaves too little room.
pub fn check_stream(
    (path, query): (&str, Option<&str>),
    headers: &HeaderMap,
    channels: usize,
    limit: ByteSize,
) -> Result<(), Problem> {
    let url = path.len() + query.map_or(0, |query| 1 + without_cursors(query));
    let cursor = field(LAST_EVENT_ID.len(), cursor::longest(channels));
    let fields = fields(headers, |name| name != LAST_EVENT_ID).saturating_sub(ADDED).max(FIELDS);
    let taken = line(Method::GET.as_str().len()) + fields + cursor + 2;
    if url + taken <= bytes(limit) {
        return Ok(());
    }
    let detail = format!(
        "the URL has {url} bytes without its cursor; {} are allowed for {channels} channels: of {} bytes for the whole \
         head (limits.head_bytes), {fields} are for header fields and {cursor} for the cursor. Follow fewer channels, \
         or open another stream for some of them",
        bytes(limit).saturating_sub(taken),
        limit.as_u64()
    );
    Err(Problem::new(Code::HeadTooLarge, detail))
}

/// Returns the length of a request line: method and target, two spaces, the version and the line ending.
fn line(bytes: usize) -> usize {
    bytes + "  HTTP/1.1\r\n".len()
}

/// Returns the length of a header field: name and value, a colon, a space and the line ending.
fn field(name: usize, value: usize) -> usize {
    name + value + ": \r\n".len()
}

fn fields(headers: &HeaderMap, counts: impl Fn(&str) -> bool) -> usize {
    let counted = headers.iter().filter(|(name, _)| counts(name.as_str()));
    counted.map(|(name, value)| field(name.as_str().len(), value.len())).sum()
}

/// Returns the length of a query without the parameters with a cursor.
fn without_cursors(query: &str) -> usize {
    let name = |pair: &str| pair.split('=').next().is_some_and(|name| CURSORS.contains(&name));
    query.split('&').filter(|pair| !name(pair)).map(|pair| pair.len() + 1).sum::<usize>().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: ByteSize = ByteSize::kib(32);

    fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn stream(query: &str, pairs: &[(&'static str, String)], channels: usize) -> Result<(), String> {
        check_stream(("/v1/events", Some(query)), &headers(pairs), channels, LIMIT)
            .map_err(|problem| problem.detail)
    }

    #[test]
    fn a_head_is_counted_as_it_is_written() {
        let uri = "/v1/publish?token=x".parse().unwrap();
        let text = "POST /v1/publish?token=x HTTP/1.1\r\nhost: a\r\nx: yz\r\n\r\n";
        let headers = headers(&[("host", "a".into()), ("x", "yz".into())]);
        assert_eq!(of(&Method::POST, &uri, &headers), text.len());
        assert!(check(32 * 1024, LIMIT).is_ok());
        let problem = check(32 * 1024 + 1, LIMIT).unwrap_err();
        assert!(problem.code == Code::HeadTooLarge && problem.detail.contains("32769"), "{problem:?}");
    }

    #[test]
    fn a_reconnect_is_judged_as_the_first_connect_wherever_its_cursor_is() {
        let longest = "a".repeat(cursor::longest(256));
        for length in [10, 15_000, 15_632, 15_633, 30_000] {
            let query = format!("channel={}", "x".repeat(length));
            let first = stream(&query, &[], 256);
            assert_eq!(first, stream(&query, &[("last-event-id", longest.clone())], 256), "{length}");
            for name in CURSORS {
                for query in [format!("{query}&{name}={longest}"), format!("{name}={longest}&{query}")] {
                    assert_eq!(first, stream(&query, &[("last-event-id", longest.clone())], 256), "{length}");
                }
            }
            assert_eq!(first.is_ok(), length <= 15_632, "{length}: {first:?}");
        }
    }

    #[test]
    fn fields_that_change_between_connects_make_no_difference_up_to_their_share() {
        let share = FIELDS + ADDED - "cookie: \r\n".len();
        let query = |length: usize| "x".repeat(length);
        let most = (1..32_768).rev().find(|length| stream(&query(*length), &[], 2).is_ok()).unwrap();
        let cookie = |length: usize| [("cookie", "c".repeat(length))];
        assert!(stream(&query(most), &cookie(share), 2).is_ok());
        assert!(stream(&query(most), &cookie(share + 1), 2).is_err());
        assert!(stream(&query(most - 1), &cookie(share + 1), 2).is_ok());
        let refused = stream(&query(most + 1), &[], 2).unwrap_err();
        assert!(refused.contains("Follow fewer channels") && refused.contains("32768"), "{refused}");
    }

    #[test]
    fn fields_are_counted_and_all_cookies_are_one() {
        let many = |name: &'static str, count: usize| vec![(name, "x".to_owned()); count];
        assert!(check_fields(&headers(&many("x", MAX_FIELDS))).is_ok());
        let problem = check_fields(&headers(&many("x", MAX_FIELDS + 1))).unwrap_err();
        assert!(problem.code == Code::HeadTooLarge && problem.detail.contains("111"), "{problem:?}");
        let cookies = [many("cookie", 200), many("x", MAX_FIELDS - 1)].concat();
        assert!(check_fields(&headers(&cookies)).is_ok());
    }

    #[test]
    fn a_head_that_passes_is_read_with_two_cursors() {
        let cursors = 2 * ("last-event-id: \r\n".len() + MAX_CURSOR_BYTES);
        // One is within the limit.
        assert!(cursors - MAX_CURSOR_BYTES < BEYOND);
    }
}
