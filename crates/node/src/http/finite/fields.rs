//! Headers of requests and responses.

use axum::response::Response;
use fanfare_broker::stream_store::StreamTail;
use fanfare_protocol::finite::{End, EndKind, Lease, Offset};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, LOCATION};
use http::{HeaderMap, HeaderValue};

use crate::http::problem::Problem;

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        $($(#[$doc])* pub(super) const $name: HeaderName = HeaderName::from_static($text);)+
    };
}

fields! {
    NEXT_OFFSET = "stream-next-offset";
    UP_TO_DATE = "stream-up-to-date";
    CLOSED = "stream-closed";
    CURSOR = "stream-cursor";
    SEQ = "stream-seq";
    TTL = "stream-ttl";
    EXPIRES_AT = "stream-expires-at";
    LEASE = "stream-lease";
    END = "stream-end";
    END_REASON = "stream-end-reason";
    FORKED_FROM = "stream-forked-from";
    FORK_OFFSET = "stream-fork-offset";
    FORK_SUB_OFFSET = "stream-fork-sub-offset";
    PRODUCER_ID = "producer-id";
    PRODUCER_EPOCH = "producer-epoch";
    PRODUCER_SEQ = "producer-seq";
    PRODUCER_EXPECTED = "producer-expected-seq";
    PRODUCER_RECEIVED = "producer-received-seq";
    DATA_ENCODING = "stream-sse-data-encoding";
}

/// Headers of requests, which pages of other origins may send.
pub(in crate::http) const REQUESTED: [HeaderName; 14] = [
    CLOSED,
    SEQ,
    TTL,
    EXPIRES_AT,
    LEASE,
    END,
    END_REASON,
    FORKED_FROM,
    FORK_OFFSET,
    FORK_SUB_OFFSET,
    PRODUCER_ID,
    PRODUCER_EPOCH,
    PRODUCER_SEQ,
    IF_NONE_MATCH,
];

/// Headers of responses, which pages of other origins may read.
pub(in crate::http) const EXPOSED: [HeaderName; 17] = [
    NEXT_OFFSET,
    UP_TO_DATE,
    CLOSED,
    CURSOR,
    TTL,
    EXPIRES_AT,
    LEASE,
    END,
    END_REASON,
    PRODUCER_EPOCH,
    PRODUCER_SEQ,
    PRODUCER_EXPECTED,
    PRODUCER_RECEIVED,
    DATA_ENCODING,
    ETAG,
    LOCATION,
    CONTENT_TYPE,
];

/// Returns the text of a header, if it is present.
///
/// # Errors
///
/// Fails if it is present twice, or is not visible ASCII.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).into_iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Problem::bad_request(format!("the header {name} is present twice")));
    }
    let wrong =
        |_| Problem::bad_request(format!("the header {name} has characters that are not visible ASCII"));
    first.map(|value| value.to_str().map_err(wrong)).transpose()
}

/// Returns whether a request closes the stream: only `true` does, in any case.
pub(super) fn closes(headers: &HeaderMap) -> bool {
    headers.get(CLOSED).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// Returns whether a request ends the stream as cancelled, and so with all of its bytes or without any.
pub(super) fn cancels(headers: &HeaderMap) -> bool {
    matches!(end(headers), Ok(Some(End { kind: EndKind::Cancelled, .. })))
}

/// Returns the end that a request gives the stream, if it closes it.
///
/// # Errors
///
/// Fails if the kind or the reason of the end is invalid, or if there is one without `Stream-Closed`.
pub(super) fn end(headers: &HeaderMap) -> Result<Option<End>, Problem> {
    let (kind, reason) = (text(headers, &END)?, text(headers, &END_REASON)?);
    if !closes(headers) {
        let is_alone = kind.is_some() || reason.is_some();
        let alone = || Problem::bad_request("send Stream-End and Stream-End-Reason with Stream-Closed: true");
        return if is_alone { Err(alone()) } else { Ok(None) };
    }
    End::new(kind, reason).map(Some).map_err(|error| Problem::bad_request(error.to_string()))
}

/// Sets a header to a text of visible ASCII.
pub(super) fn set(response: &mut Response, name: HeaderName, text: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(text.as_ref()) {
        response.headers_mut().insert(name, value);
    }
}

/// Sets where to go on.
pub(super) fn set_next(response: &mut Response, next: Offset) {
    set(response, NEXT_OFFSET, next.to_string());
}

/// Sets that the stream has ended, and how.
pub(super) fn set_end(response: &mut Response, end: &End) {
    set(response, CLOSED, "true");
    set(response, END, end.kind.as_str());
    if !end.reason.is_empty() {
        set(response, END_REASON, &end.reason);
    }
}

/// Sets how long the producer may be silent, if that is limited.
pub(super) fn set_lease(response: &mut Response, lease: Option<Lease>) {
    if let Some(lease) = lease {
        set(response, LEASE, lease.to_string());
    }
}

/// Sets where the stream ends, and whether it has ended.
pub(super) fn set_tail(response: &mut Response, StreamTail { generations, tail, end }: &StreamTail) {
    set_next(response, generations.mint(*tail));
    if let Some(end) = end {
        set_end(response, end);
    }
}

/// Sets what caches may do.
pub(super) fn set_cache(response: &mut Response, control: &'static str) {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(control));
}
