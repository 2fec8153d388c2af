//! HTTP by the letter: what RFC 9110, RFC 9112, RFC 9113, RFC 8259 and RFC 7515 ask of a server, a row each, over raw
//! sockets.
//!
//! Issue 10, row 15: requests without `Host` or with two were answered 200, gzip bodies 400, unknown transfer codings 400, a
//! JSON array was taken as an event, and `HEAD` of a stream said `content-length: 0`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::node::{NodeBuilder, SECRET};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Algorithm;
use fanfare_testkit::{tcp, token};
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::exchange;

/// A request, and what the answer must be.
struct Row {
    /// The section, and what it asks for.
    letter: &'static str,
    request: String,
    /// Any of these.
    status: &'static [u16],
    /// In lower case: what the answer has, or has not if it begins with `!`.
    words: &'static [&'static str],
}

fn row(
    letter: &'static str,
    request: impl Into<String>,
    status: &'static [u16],
    words: &'static [&'static str],
) -> Row {
    Row { letter, request: request.into(), status, words }
}

/// A request of HTTP/1.1 that closes its connection, with some more header lines.
fn ask(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n")
}

/// One that publishes, with a body.
fn post(headers: &str, body: &str) -> String {
    let head = format!("Content-Type: application/json\r\n{headers}");
    ask("POST /v1/publish", &head) + body
}

fn sized(headers: &str, body: &str) -> String {
    post(&format!("{headers}Content-Length: {}\r\n", body.len()), body)
}

fn typed(kind: &str) -> String {
    let body = r#"{"channel":"a","data":1}"#;
    ask("POST /v1/publish", &format!("{kind}Content-Length: {}\r\n", body.len())) + body
}

const EVENT: &str = r#"{"channel":"a","data":1}"#;
/// [`EVENT`] in two chunks.
const CHUNKS: &str = "5\r\n{\"cha\r\n13\r\nnnel\":\"a\",\"data\":1}\r\n0\r\n\r\n";

fn targets_and_hosts() -> Vec<Row> {
    let bare = |headers: &str| format!("GET /healthz HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    vec![
        row("9112 3.2: no Host with HTTP/1.1", bare(""), &[400], &["problem+json", "no host"]),
        row("9112 3.2: two Hosts", bare("Host: a\r\nHost: b\r\n"), &[400], &["more than one"]),
        row("9112 3.2: the same Host twice", bare("Host: a\r\nHost: a\r\n"), &[400], &["more than one"]),
        row("9112 3.2: a Host with a space", bare("Host: a b\r\n"), &[400], &["problem+json"]),
        row("9112 3.2: a Host with a path", bare("Host: a/b\r\n"), &[400], &[]),
        row("9112 3.2: a Host with a scheme", bare("Host: http://a\r\n"), &[400], &[]),
        row("9110 4.2.4: a Host with a user", bare("Host: u@a\r\n"), &[400], &[]),
        row("9112 3.2: a Host with a bad port", bare("Host: a:port\r\n"), &[400], &[]),
        row("9112 3.2: a Host with an open bracket", bare("Host: [::1\r\n"), &[400], &[]),
        row("9112 3.2: a Host with an address", bare("Host: [::1]:80\r\n"), &[200], &[]),
        row("9112 3.2: an empty Host", bare("Host:\r\n"), &[200], &[]),
        row(
            "9112 3.2: HTTP/1.0 needs no Host",
            "GET /healthz HTTP/1.0\r\n\r\n",
            &[200],
            &["connection: close|!keep-alive"],
        ),
        row(
            "9112 3.2: an invalid Host of HTTP/1.0",
            "GET /healthz HTTP/1.0\r\nHost: a b\r\n\r\n",
            &[400],
            &[],
        ),
        row("9112 3.2.2: absolute form", ask("GET http://b/healthz", ""), &[200], &[]),
        row(
            "9112 3.2.2: absolute form needs a Host too",
            "GET http://b/healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
            &[400],
            &[],
        ),
        row("9110 4.2.4: absolute form with a user", ask("GET http://u@b/healthz", ""), &[400], &[]),
        row("9112 3.2.3: authority form is for CONNECT", ask("CONNECT a:80", ""), &[404, 405], &[]),
        row("9112 3.2.4: OPTIONS *", ask("OPTIONS *", ""), &[204, 200], &["allow: "]),
        row("9112 3.2.4: * is for OPTIONS", ask("GET *", ""), &[400], &[]),
        row("9112 3: a target with a space", ask("GET /health z", ""), &[400], &[]),
        row("9112 3: no version", "GET /healthz\r\n\r\n", &[400], &[]),
        row("9112 2.3: lower case is no version", "GET /healthz http/1.1\r\nHost: a\r\n\r\n", &[400], &[]),
        row(
            "9110 15.6.6: another major version",
            "GET /healthz HTTP/3.0\r\nHost: a\r\n\r\n",
            &[400, 505],
            &[],
        ),
        row(
            "9112 2.2: an empty line before the request",
            format!("\r\n{}", ask("GET /healthz", "")),
            &[200],
            &[],
        ),
        row("9112 3: a long target", ask(&format!("GET /{}", "x".repeat(40_000)), ""), &[414, 431], &[]),
        row(
            "9110 5.4: a large head",
            ask("GET /healthz", &format!("X: {}\r\n", "x".repeat(80_000))),
            &[431],
            &[],
        ),
        row(
            "3986 2.2: %2F in a channel",
            ask("GET /v1/channels/a%2Fb/events", ""),
            &[200],
            &["\"channel\":\"a/b\""],
        ),
        row(
            "3986 2.2: %2F in a user",
            ask("GET /v1/users/a%2Fb/sessions", ""),
            &[200],
            &["\"user\":\"a/b\""],
        ),
        row(
            "3986 2.1: an escape that is no UTF-8",
            ask("GET /v1/channels/%FF/events", ""),
            &[400],
            &["problem+json"],
        ),
    ]
}

fn methods() -> Vec<Row> {
    vec![
        row("9110 9.1: GET", ask("GET /readyz", ""), &[200], &["date: ", "content-length: "]),
        row(
            "9110 9.3.2: HEAD of readyz",
            ask("HEAD /readyz", ""),
            &[200],
            &["content-length: ", "!{\"ready"],
        ),
        row(
            "9110 9.3.2: HEAD of healthz",
            ask("HEAD /healthz", ""),
            &[200],
            &["content-length: 15", "!status"],
        ),
        row("9110 9.3.2: HEAD of metrics", ask("HEAD /metrics", ""), &[200], &["!# type"]),
        row("9110 9.3.2: HEAD of history", ask("HEAD /v1/channels/a/events", ""), &[200], &["!\"events\""]),
        row("9110 9.3.2: HEAD of sessions", ask("HEAD /v1/users/7/sessions", ""), &[200], &["!\"sessions\""]),
        row("9110 9.3.2: HEAD of nodes", ask("HEAD /v1/nodes", ""), &[200], &["!\"nodes\""]),
        row(
            "9110 8.6: HEAD of a stream has no length",
            ask("HEAD /v1/events?user=7", ""),
            &[200],
            &["text/event-stream", "!content-length", "!event:"],
        ),
        row("9110 9.3.2: HEAD of nothing", ask("HEAD /nothing", ""), &[404], &["!\"title\""]),
        row(
            "9110 15.5.6: POST of a stream",
            ask("POST /v1/events", ""),
            &[405],
            &["allow: get,head|allow: get, head"],
        ),
        row("9110 15.5.6: GET of publish", ask("GET /v1/publish", ""), &[405], &["allow: post"]),
        row("9110 15.5.6: PUT of nodes", ask("PUT /v1/nodes", ""), &[405], &["allow: get"]),
        row("9110 15.5.6: PATCH of sessions", ask("PATCH /v1/users/7/sessions", ""), &[405], &["delete"]),
        row("9110 9.3.8: TRACE is not allowed", ask("TRACE /healthz", ""), &[405], &["allow: "]),
        row("9110 9.1: an unknown method", ask("BREW /healthz", ""), &[501], &["problem+json"]),
        row("9110 9.1: methods are case-sensitive", ask("get /healthz", ""), &[501], &[]),
        row("9110 15.5.5: an unknown path", ask("GET /nothing", ""), &[404], &["problem+json"]),
        row("9110 6.6.1: a Date in an error", ask("GET /nothing", ""), &[404], &["date: "]),
        row("9110 6.6.1: a Date in hyper's own error", "x\r\n\r\n", &[400], &["date: "]),
    ]
}

fn fields() -> Vec<Row> {
    vec![
        row(
            "9110 10.1.1: Expect: 100-continue",
            sized("Expect: 100-continue\r\n", EVENT),
            &[100, 200],
            &["200 ok"],
        ),
        row(
            "9110 10.1.1: another expectation",
            sized("Expect: a-miracle\r\n", EVENT),
            &[417],
            &["problem+json"],
        ),
        row(
            "9110 10.1.1: HTTP/1.0 expects nothing",
            "GET /healthz HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
            &[200],
            &["!100 continue"],
        ),
        row(
            "9110 15.5.16: a gzip body",
            sized("Content-Encoding: gzip\r\n", EVENT),
            &[415],
            &["accept-encoding: identity", "problem+json"],
        ),
        row("9110 15.5.16: two codings", sized("Content-Encoding: identity, br\r\n", EVENT), &[415], &[]),
        row("9110 8.4: identity", sized("Content-Encoding: identity\r\n", EVENT), &[200], &[]),
        row(
            "9110 15.5.16: another type",
            typed("Content-Type: text/plain\r\n"),
            &[415],
            &["application/json"],
        ),
        row("9110 8.3: no type", typed(""), &[415], &[]),
        row(
            "9110 8.3.1: parameters and case",
            typed("Content-Type: Application/JSON ; charset=UTF-8\r\n"),
            &[200],
            &[],
        ),
        row("6839 3.1: +json", typed("Content-Type: application/event+json\r\n"), &[200], &[]),
        row("9110 13.1.1: If-Match", sized("If-Match: \"x\"\r\n", EVENT), &[412], &["problem+json"]),
        row(
            "9110 13.1.1: If-Match before DELETE",
            ask("DELETE /v1/users/7/sessions", "If-Match: \"x\"\r\n"),
            &[412],
            &[],
        ),
        row(
            "9110 13.1.1: If-Match before GET",
            ask("GET /v1/channels/a/events", "If-Match: \"x\"\r\n"),
            &[412],
            &["problem+json", "!\"events\""],
        ),
        row("9110 13.1.1: If-Match of a stream", ask("GET /v1/events", "If-Match: \"x\"\r\n"), &[412], &[]),
        row("9110 13.1.1: If-Match: *", ask("GET /v1/nodes", "If-Match: *\r\n"), &[200], &[]),
        row("9110 13.2.1: If-Match of no success", ask("GET /nothing", "If-Match: \"x\"\r\n"), &[404], &[]),
        row(
            "9110 13.1.2: If-None-Match: * before DELETE",
            ask("DELETE /v1/users/7/sessions", "If-None-Match: *\r\n"),
            &[412],
            &["problem+json"],
        ),
        row("9110 13.1.2: If-None-Match: * before POST", sized("If-None-Match: *\r\n", EVENT), &[412], &[]),
        row("9110 13.1.2: If-None-Match with a tag", sized("If-None-Match: \"x\"\r\n", EVENT), &[200], &[]),
        row(
            "9110 13.1.4: no date, no If-Unmodified-Since",
            sized("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n", EVENT),
            &[200],
            &[],
        ),
        row(
            "9110 14.2: Range may be ignored",
            ask("GET /healthz", "Range: bytes=0-1\r\n"),
            &[200],
            &["{\"status\":\"ok\"}"],
        ),
        row("9110 12.5.1: Accept may be ignored", ask("GET /healthz", "Accept: image/png\r\n"), &[200], &[]),
        row("9110 7.8: Upgrade may be ignored", ask("GET /healthz", "Upgrade: h2c\r\n"), &[200], &[]),
        row("9110 11.6.1: 401 has a challenge (no token needed here)", ask("GET /v1/nodes", ""), &[200], &[]),
        row("9112 5.1: a space before the colon", ask("GET /healthz", "X : y\r\n"), &[400], &[]),
        row("9112 5.1: an empty name", ask("GET /healthz", ": y\r\n"), &[400], &[]),
        row("9112 5.2: obs-fold", ask("GET /healthz", "X: a\r\n b\r\n"), &[400], &[]),
        row(
            "9112 2.2: white space before the first field",
            "GET /healthz HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
            &[400],
            &[],
        ),
        row("9112 2.2: a bare CR in a value", ask("GET /healthz", "X: a\rb\r\n"), &[400], &[]),
        row("9110 5.5: NUL in a value", ask("GET /healthz", "X: a\0b\r\n"), &[400], &[]),
        row("9112 5: no colon", ask("GET /healthz", "X\r\n"), &[400], &[]),
        row("9110 5.6.2: a name with a space", ask("GET /healthz", "X Y: z\r\n"), &[400], &[]),
        row(
            "9112 2.2: LF alone ends a line",
            "GET /healthz HTTP/1.1\nHost: a\nConnection: close\n\n",
            &[200, 400],
            &[],
        ),
    ]
}

fn framing() -> Vec<Row> {
    let chunked = |more: &str| post(&format!("Transfer-Encoding: chunked\r\n{more}"), CHUNKS);
    let te = |coding: &str| post(&format!("Transfer-Encoding: {coding}\r\n"), CHUNKS);
    vec![
        row("9112 6.3: Content-Length", sized("", EVENT), &[200], &["\"repeat\":false"]),
        row("9112 7.1: chunked", chunked(""), &[200], &["\"repeat\":false"]),
        row("9112 7: Chunked in any case", te("Chunked"), &[200], &[]),
        row(
            "9112 7.1.1: extensions are ignored",
            post(
                "Transfer-Encoding: chunked\r\n",
                "18;a=b;c=\"d\"\r\n{\"channel\":\"a\",\"data\":1}\r\n0;x\r\n\r\n",
            ),
            &[200],
            &[],
        ),
        row(
            "9112 7.1.2: trailers are taken",
            post(
                "Transfer-Encoding: chunked\r\n",
                "18\r\n{\"channel\":\"a\",\"data\":1}\r\n0\r\nX: y\r\n\r\n",
            ),
            &[200],
            &[],
        ),
        row(
            "9112 7.1: a size that is none",
            post("Transfer-Encoding: chunked\r\n", "x\r\n\r\n"),
            &[400],
            &[],
        ),
        row(
            "9112 7.1: a size beyond all bounds",
            post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n\r\n"),
            &[400],
            &[],
        ),
        row("9112 6.1: gzip, chunked", te("gzip, chunked"), &[501], &["problem+json"]),
        row("9112 6.1: gzip and chunked in two lines", te("gzip\r\nTransfer-Encoding: chunked"), &[501], &[]),
        row("9112 6.1: an unknown coding before chunked", te("x-rot13, chunked"), &[501], &[]),
        row("9112 6.1: chunked twice", te("chunked, chunked"), &[400], &[]),
        row("9112 6.3: chunked is not the last", te("chunked, gzip"), &[400], &[]),
        row("9112 6.3: not chunked at all", te("gzip"), &[400, 501], &[]),
        row("9112 6.1: identity is no coding any more", te("identity"), &[400, 501], &[]),
        row(
            "9112 6.1: HTTP/1.0 has no transfer codings",
            te("chunked").replace("HTTP/1.1", "HTTP/1.0"),
            &[400],
            &[],
        ),
        row(
            "9112 6.1: both, length first",
            chunked("").replace("Transfer", "Content-Length: 3\r\nTransfer"),
            &[200, 400],
            &["connection: close"],
        ),
        row(
            "9112 6.1: both, length last",
            chunked("Content-Length: 3\r\n"),
            &[200, 400],
            &["connection: close"],
        ),
        row(
            "9112 6.3: two lengths that differ",
            post("Content-Length: 24\r\nContent-Length: 25\r\n", EVENT),
            &[400],
            &[],
        ),
        row("9112 6.3: two lengths in a list", post("Content-Length: 24, 25\r\n", EVENT), &[400], &[]),
        row(
            "9112 6.3: the same length twice",
            post("Content-Length: 24\r\nContent-Length: 24\r\n", EVENT),
            &[200, 400],
            &[],
        ),
        row("9110 8.6: a length with a sign", post("Content-Length: +24\r\n", EVENT), &[400], &[]),
        row("9110 8.6: a negative length", post("Content-Length: -1\r\n", EVENT), &[400], &[]),
        row("9110 8.6: a hexadecimal length", post("Content-Length: 0x18\r\n", EVENT), &[400], &[]),
        row(
            "9110 8.6: a length beyond all numbers",
            post("Content-Length: 99999999999999999999\r\n", EVENT),
            &[400, 413],
            &[],
        ),
        row(
            "9110 15.5.14: a body that is too large",
            post("Content-Length: 99999999\r\nExpect: 100-continue\r\n", ""),
            &[413],
            &["problem+json", "!100 continue"],
        ),
        row(
            "9112 6.3: a colon after a space hides no coding",
            post("Transfer-Encoding : chunked\r\n", CHUNKS),
            &[400],
            &[],
        ),
        row("9112 6.3: a control character hides no coding", te("\x0bchunked"), &[400], &[]),
        row("9112 6.3: no length is no body", post("", ""), &[400], &["bad-json"]),
    ]
}

/// Documented limits of the HTTP library.
fn limits_of_the_library() -> Vec<Row> {
    vec![
        row(
            "9110 8.6: the greatest length of the HTTP library's type, which it refuses by itself",
            post("Content-Length: 18446744073709551615\r\n", EVENT),
            &[431],
            &["connection: close"],
        ),
        row(
            "9110 5.6.1: empty members of a list, which the HTTP library refuses",
            post("Transfer-Encoding: , chunked ,\r\n", CHUNKS),
            &[400],
            &[],
        ),
    ]
}

fn json() -> Vec<Row> {
    vec![
        row("8259 2: not JSON", sized("", "{'channel':1}"), &[400], &["bad-json"]),
        row("8259 8.1: not UTF-8 (UTF-16)", sized("", "{\0\"\0a\0\"\0:\x00\x31\0}\0"), &[400], &["bad-json"]),
        row("8259 2: more behind it", sized("", &format!("{EVENT} x")), &[400], &["bad-json"]),
        row("8259 2: an array is no event", sized("", r#"[["a","t",1,null,false]]"#), &[200], &["\"error\""]),
        row("8259 2: white space around it", sized("", &format!(" \t\r\n{EVENT}\n")), &[200], &[]),
    ]
}

#[tokio::test]
async fn each_row_of_the_standards_is_kept() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node).await;
    let rows: Vec<Row> =
        [targets_and_hosts(), methods(), fields(), framing(), limits_of_the_library(), json()]
            .into_iter()
            .flatten()
            .collect();
    let (count, mut wrong) = (rows.len(), Vec::new());
    for Row { letter, request, status, words } in rows {
        let answer = exchange(cluster.a().address(), request.as_bytes()).await;
        // What was sent behind a refused head may turn the close into a reset, which takes the answer along.
        if answer.starts_with("reset") && status.iter().all(|status| *status >= 400) {
            continue;
        }
        let lower = answer.to_lowercase();
        let has =
            |word: &str| word.strip_prefix('!').map_or(lower.contains(word), |word| !lower.contains(word));
        let said = answer.get(9..12).and_then(|text| text.parse().ok()).unwrap_or(0);
        if !status.contains(&said) || !words.iter().all(|word| word.split('|').any(has)) {
            let answer: String = answer.chars().take(400).collect();
            wrong.push(format!("{letter}: wanted {status:?} {words:?}, got {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 100, "{count} rows");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node).await;
    let mut socket = tcp::connect(cluster.a().address(), None, None).await.unwrap();
    socket.write_all(b"GET /v1/events?user=7 HTTP/1.0\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains("cursor") {
        assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "{bytes:?}");
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && !head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert!(body.starts_with("id: ") || body.starts_with("event: ") || body.starts_with("retry: "), "{body}");
}

/// Section, method, target, headers, body, and any of these statuses; 0 is a stream that is reset.
type Http2Row = (
    &'static str,
    Method,
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<Bytes>,
    &'static [u16],
);

#[tokio::test]
async fn http_2_is_held_to_the_same_letter() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node).await;
    let socket = tcp::connect(cluster.a().address(), None, None).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let mut wrong = Vec::new();
    let event = || Some(Bytes::from_static(EVENT.as_bytes()));
    let rows: Vec<Http2Row> = vec![
        ("9113 8.3.1: :authority", Method::GET, "http://a/healthz", &[], None, &[200]),
        ("9113 8.3.1: another Host", Method::GET, "http://a/healthz", &[("host", "b")], None, &[400]),
        ("9113 8.3.1: the same Host", Method::GET, "http://a/healthz", &[("host", "a")], None, &[200]),
        (
            "9113 8.3.1: two Hosts",
            Method::GET,
            "http://a/healthz",
            &[("host", "a"), ("host", "a")],
            None,
            &[400],
        ),
        ("9113 8.3.1: a user", Method::GET, "http://u@a/healthz", &[], None, &[400, 0]),
        (
            "9113 8.2.2: transfer-encoding",
            Method::GET,
            "http://a/healthz",
            &[("transfer-encoding", "chunked")],
            None,
            &[400, 501, 0],
        ),
        (
            "9110 15.5.16: a gzip body",
            Method::POST,
            "http://a/v1/publish",
            &[("content-encoding", "gzip"), ("content-type", "application/json")],
            event(),
            &[415],
        ),
        (
            "9110 10.1.1: an expectation",
            Method::POST,
            "http://a/v1/publish",
            &[("expect", "a-miracle"), ("content-type", "application/json")],
            event(),
            &[417],
        ),
        (
            "9110 13.1.1: If-Match",
            Method::POST,
            "http://a/v1/publish",
            &[("if-match", "\"x\""), ("content-type", "application/json")],
            event(),
            &[412],
        ),
        ("9110 15.5.6: PUT", Method::PUT, "http://a/v1/nodes", &[], None, &[405]),
        ("9110 9.1: BREW", Method::from_bytes(b"BREW").unwrap(), "http://a/v1/nodes", &[], None, &[501]),
        ("9110 9.3.2: HEAD", Method::HEAD, "http://a/v1/events?user=7", &[], None, &[200]),
        ("9110 15.5.5: nothing", Method::GET, "http://a/nothing", &[], None, &[404]),
    ];
    for (letter, method, target, headers, body, wanted) in rows {
        let mut request = Request::builder().method(method.clone()).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        requests = requests.ready().await.unwrap();
        let sent = requests.send_request(request.body(()).unwrap(), body.is_none());
        let status = match sent {
            // The client's own library refuses to send it.
            Err(_) => 0,
            Ok((response, mut out)) => {
                if let Some(body) = body {
                    out.send_data(body, true).unwrap();
                }
                match response.await {
                    Ok(response) => {
                        let head = response.headers();
                        if method == Method::HEAD && head.contains_key("content-length") {
                            wrong.push(format!("{letter}: {head:?}"));
                        }
                        if !head.contains_key("date") {
                            wrong.push(format!("{letter}: no date"));
                        }
                        response.status().as_u16()
                    }
                    Err(_) => 0,
                }
            }
        };
        if !wanted.contains(&status) {
            wrong.push(format!("{letter}: {status} instead of {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a token should begin with.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// What it should say. It expires after the clock of every machine that runs this test, and its node knows no longest
/// lifetime.
const CLAIMS: &str = r#"{"sub":"7","exp":9999999999}"#;

/// A token of exactly this header and these claims, signed as it should be.
fn signed(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    token::signed(&text, SECRET, Algorithm::HS256)
}

#[tokio::test]
async fn each_row_of_rfc_7515_is_kept() {
    let configure = |node: NodeBuilder| node.auth("jwt").set("AUTH__JWT__MAX_LIFETIME", "0s");
    let cluster = Cluster::on(Redis::start().await, 1, configure).await;
    let good = signed(HEADER, CLAIMS);
    let parts: Vec<&str> = good.split('.').collect();
    let mut wrong = Vec::new();
    for (letter, token, status) in [
        ("a token as it should be", good.clone(), 200),
        ("4.1.11: crit", signed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, CLAIMS), 401),
        ("4.1.11: crit of what is known anyway", signed(r#"{"alg":"HS256","crit":["alg"]}"#, CLAIMS), 401),
        ("4.1.11: an empty crit", signed(r#"{"alg":"HS256","crit":[]}"#, CLAIMS), 401),
        ("4.1.11: a crit that is no list", signed(r#"{"alg":"HS256","crit":"exp"}"#, CLAIMS), 401),
        ("4.1.1: no alg", signed(r#"{"typ":"JWT"}"#, CLAIMS), 401),
        ("4.1.1: another alg", signed(r#"{"alg":"HS384"}"#, CLAIMS), 401),
        ("4.1.1: alg is case-sensitive", signed(r#"{"alg":"hs256"}"#, CLAIMS), 401),
        ("8.5 of 7519: none", format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), parts[1]), 401),
        ("4: two algs", signed(r#"{"alg":"none","alg":"HS256"}"#, CLAIMS), 401),
        ("4: the header is no object", signed(r#"["HS256"]"#, CLAIMS), 401),
        (
            "4: what is not known is ignored",
            signed(r#"{"alg":"HS256","jku":"https://x","x":1}"#, CLAIMS),
            200,
        ),
        ("2: padding", format!("{}=.{}.{}", parts[0], parts[1], parts[2]), 401),
        ("2: white space", format!("{}%20.{}.{}", parts[0], parts[1], parts[2]), 401),
        ("7.1: two parts", format!("{}.{}", parts[0], parts[1]), 401),
        ("7.1: four parts", format!("{good}.x"), 401),
        ("5.2: another signature", format!("{}.{}.{}", parts[0], parts[1], "A".repeat(43)), 401),
        ("7519 7.2: claims by place", signed(HEADER, r#"["7",9999999999,null,{}]"#), 401),
        (
            "7519 7.2: grants by place",
            signed(HEADER, r#"{"sub":"7","exp":9999999999,"fanfare":[[],[],true]}"#),
            401,
        ),
        ("7519 4: sub twice", signed(HEADER, r#"{"sub":"7","sub":"8","exp":9999999999}"#), 401),
    ] {
        let answer = cluster.a().api().get(&format!("/v1/users/7/sessions?token={token}")).await;
        if answer.status != status {
            wrong.push(format!("{letter}: {} {}", answer.status, answer.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
