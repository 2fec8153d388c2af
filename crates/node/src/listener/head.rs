//! The head of a response that hyper does not write (RFC 9112, sections 4 and 5).

use std::time::SystemTime;

use axum::response::Response;
use bytes::Bytes;
use http::Version;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};

/// Returns the head of a stream's response. It has `connection: close`, since the connection ends with the stream.
pub(super) fn write(version: Version, response: &Response) -> Bytes {
    let status = response.status();
    let old = version == Version::HTTP_10;
    let mut head = Vec::with_capacity(512);
    let line = if old { "HTTP/1.0" } else { "HTTP/1.1" };
    let reason = status.canonical_reason().unwrap_or_default();
    head.extend_from_slice(format!("{line} {} {reason}\r\n", status.as_str()).as_bytes());
    for (name, value) in response.headers() {
        // The response that carries the stream has an empty body, whose framing does not apply.
        if [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, DATE].contains(name) {
            continue;
        }
        field(&mut head, name.as_str(), value.as_bytes());
    }
    field(&mut head, "date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    field(&mut head, "connection", b"close");
    if !old {
        field(&mut head, "transfer-encoding", b"chunked");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

fn field(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    // A `HeaderValue` contains no line ending.
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_head_has_every_header_once_and_its_own_framing() {
        let response =
            ([("content-type", "text/event-stream"), ("vary", "origin"), ("content-length", "0")], "");
        let head = write(Version::HTTP_11, &response.into_response());
        let head = std::str::from_utf8(&head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        for line in [
            "content-type: text/event-stream",
            "vary: origin",
            "connection: close",
            "transfer-encoding: chunked",
        ] {
            assert_eq!(head.lines().filter(|l| *l == line).count(), 1, "{line} in {head}");
        }
        assert!(!head.contains("content-length"));
        assert_eq!(head.lines().filter(|line| line.starts_with("date: ")).count(), 1);
    }

    #[test]
    fn an_old_client_gets_no_chunks() {
        let head = write(Version::HTTP_10, &().into_response());
        let head = std::str::from_utf8(&head).unwrap();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && !head.contains("chunked"), "{head}");
        assert!(head.contains("connection: close\r\n"));
    }
}
