//! Errors that the balancers make by themselves. nginx answered a publisher with an HTML page of status 502 while no node was
//! available, and both had HTML for most other errors: without a code, without `Retry-After`, and cacheable.

use std::net::SocketAddr;

use fanfare_testkit::api::check_problem;
use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::behind_each;
use fanfare_testkit::exchange::{Exchanged, exchange};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ORIGIN: &str = "https://app.example";
const JSON: &str = "Content-Type: application/json\r\n";

/// A request whose sending half stays open. `Origin` comes first: what a balancer cannot parse ends its reading.
fn request(line: &str, fields: &str, body: &str) -> String {
    format!("{line} HTTP/1.1\r\nOrigin: {ORIGIN}\r\nHost: a\r\nConnection: close\r\n{fields}\r\n{body}")
}

fn publish(fields: &str) -> String {
    let body = r#"{"channel":"a","data":"x"}"#;
    request("POST /v1/publish", &format!("{JSON}Content-Length: {}\r\n{fields}", body.len()), body)
}

/// Checks a problem of a balancer or of a node.
fn is_problem(answer: &Exchanged, status: u16, code: &str) -> Result<(), String> {
    let head = &answer.head;
    if (head.status, &*head.media_type()) != (status, "application/problem+json") {
        return Err(format!("not a problem of {status}: {answer:?}"));
    }
    let problem = serde_json::from_str(&answer.rest).map_err(|error| format!("{error}: {answer:?}"))?;
    check_problem(&problem, status, code, &[])?;
    if status == 405 && head.field("allow").is_empty() {
        return Err(format!("no Allow: {answer:?}"));
    }
    Ok(())
}

/// Checks a problem that is the balancer's own: any page may read it, and nothing may store it.
fn is_own_problem(answer: &Exchanged, status: u16, code: &str) -> Result<(), String> {
    is_problem(answer, status, code)?;
    let retry_after = if status == 503 { "2" } else { "" };
    for (name, value) in [
        ("access-control-allow-origin", ORIGIN),
        ("access-control-allow-credentials", "true"),
        ("vary", "Origin"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("retry-after", retry_after),
    ] {
        let found = answer.head.field(name);
        if found != value {
            return Err(format!("{name} is {found:?}, not {value:?}: {answer:?}"));
        }
    }
    Ok(())
}

behind_each! {
    every_call_gets_a_problem_while_no_node_is_there => no_node;
    a_node_that_breaks_off_or_says_nothing_is_a_problem_too => broken_nodes;
    a_request_that_the_balancer_refuses_gets_a_problem => refused;
}

async fn no_node(kind: Kind) {
    let redis = Redis::start().await;
    let mut node = Node::of(&redis).start().await;
    let balancer = Balancer::before(kind, [node.address(); 3]).await;
    node.kill().await;
    // Also in the moment before the balancer knows that.
    for _ in 0..3 {
        for call in [
            publish(""),
            request("GET /v1/channels/a/events", "", ""),
            request("GET /v1/users/7/sessions", "", ""),
            request("DELETE /v1/users/7/sessions", "", ""),
            request("GET /v1/problems", "", ""),
            request("GET /healthz", "", ""),
            request("GET /v1/events", "Prefer: status\r\n", ""),
        ] {
            let answer = exchange(balancer.address(), &call, "").await;
            is_own_problem(&answer, 503, "unavailable").unwrap_or_else(|error| panic!("{call}: {error}"));
        }
        // It is not granted: otherwise any page could publish with its visitor's cookie.
        let preflight = request("OPTIONS /v1/publish", "Access-Control-Request-Method: POST\r\n", "");
        let answer = exchange(balancer.address(), &preflight, "").await;
        is_problem(&answer, 503, "unavailable").unwrap();
        assert_eq!(answer.head.field("access-control-allow-origin"), "", "{answer:?}");
    }
}

/// What a node does with a request.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Closes,
    AnswersNonsense,
    SaysNothing,
}

/// Serves as a node that is ready and does no more than that.
async fn serve(listener: TcpListener, fault: Fault) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(socket, fault));
    }
}

async fn answer(mut socket: TcpStream, fault: Fault) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end + 4);
        let is_check = ["GET /ready ", "GET /healthz "].iter().any(|line| head.starts_with(line));
        match fault {
            _ if head.starts_with("GET /ready ") => {
                socket.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
            }
            _ if is_check => socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?,
            Fault::Closes => return Ok(()),
            Fault::AnswersNonsense => return socket.write_all(b"HTTP/1.1 200 OK\r\nno field\r\n\r\n").await,
            Fault::SaysNothing => std::future::pending().await,
        }
    }
}

async fn broken_nodes(kind: Kind) {
    let patience: &[_] = match kind {
        Kind::Nginx => &[
            ("proxy_read_timeout 30s", "proxy_read_timeout 1s"),
            ("proxy_read_timeout 45s", "proxy_read_timeout 1s"),
        ],
        Kind::Haproxy => &[("timeout server 45s", "timeout server 1s")],
    };
    for fault in [Fault::Closes, Fault::AnswersNonsense, Fault::SaysNothing] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = listener.local_addr().unwrap();
        let node_task = tokio::spawn(serve(listener, fault));
        let balancer = Balancer::changed(kind, [node; 3], patience).await;
        let ask = async |call: &str| exchange(balancer.address(), call, "").await;
        for call in [publish(""), request("GET /v1/channels/a/events", "", "")] {
            let answer = ask(&call).await;
            is_own_problem(&answer, 503, "unavailable").unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert!(answer.rest.contains("idempotency key"), "{answer:?}");
        }
        let status = ask(&request("GET /v1/events", "Prefer: status\r\n", "")).await;
        is_own_problem(&status, 503, "unavailable").unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        let native = ask(&request("GET /v1/events", "Last-Event-ID: 5-5\r\n", "")).await;
        assert_eq!(
            (native.head.status, &*native.head.media_type()),
            (200, "text/event-stream"),
            "{native:?}"
        );
        assert!(
            native.rest.starts_with("id: 5-5\n") && native.rest.contains("event: overloaded"),
            "{native:?}"
        );
        node_task.abort();
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
enum By {
    /// The balancer, with a problem.
    Own(u16, &'static str),
    /// The balancer, before it has read `Origin`.
    Early(u16, &'static str),
    /// The node.
    Node(u16, &'static str),
    /// `HAProxy`, in HTML: it cannot parse the request, and no directive changes the answer.
    BuiltIn,
    /// Not the same in all versions, or a stream.
    Any,
}

/// A request, and who answers it behind nginx and behind `HAProxy`.
type Row = (&'static str, String, By, By);

const BAD_REQUEST: By = By::Own(400, "bad-request");
const HEAD_TOO_LARGE: By = By::Own(431, "head-too-large");
const NOT_FOUND: By = By::Own(404, "not-found");
const NOT_IMPLEMENTED: By = By::Own(501, "not-implemented");
const NOT_ALLOWED: By = By::Own(405, "method-not-allowed");
const TOO_LARGE: By = By::Own(413, "too-large");

fn bare(line: &str) -> String {
    format!("{line}\r\nOrigin: {ORIGIN}\r\nHost: a\r\nConnection: close\r\n\r\n")
}

fn history(fields: &str) -> String {
    request("GET /v1/channels/a/events", fields, "")
}

fn post(fields: &str, body: &str) -> String {
    request("POST /v1/publish", &format!("{JSON}{fields}"), body)
}

/// Lines and methods.
fn lines() -> Vec<Row> {
    use By::{Any, BuiltIn, Early, Node};
    let (no_call, no_method) = (Node(404, "not-found"), Node(405, "method-not-allowed"));
    let unknown = Node(501, "not-implemented");
    let early = Early(400, "bad-request");
    vec![
        ("no such call", bare("GET /v1/nothing HTTP/1.1"), no_call, no_call),
        ("another method", bare("PUT /v1/publish HTTP/1.1"), no_method, no_method),
        ("an unknown method", bare("BREW /v1/publish HTTP/1.1"), unknown, unknown),
        // nginx redirected it.
        ("the path /v1", bare("GET /v1 HTTP/1.1"), NOT_FOUND, NOT_FOUND),
        ("an admin call", bare("GET /v1/nodes HTTP/1.1"), NOT_FOUND, NOT_FOUND),
        ("TRACE", bare("TRACE /v1/publish HTTP/1.1"), NOT_ALLOWED, no_method),
        ("CONNECT", bare("CONNECT /v1/publish HTTP/1.1"), NOT_ALLOWED, BuiltIn),
        ("a later version", bare("GET /v1/channels/a/events HTTP/3.0"), early, Any),
        ("a method in lower case", bare("get /v1/channels/a/events HTTP/1.1"), early, Any),
        ("a path that is not encoded", bare("GET /v1/channels/%zz/events HTTP/1.1"), early, Any),
        ("no line of HTTP", "\0\u{1} nothing\r\n\r\n".to_owned(), early, BuiltIn),
    ]
}

/// Header fields.
fn fields() -> Vec<Row> {
    use By::{BuiltIn, Early, Node};
    let long = "x".repeat(40_000);
    let no_host =
        format!("GET /v1/channels/a/events HTTP/1.1\r\nOrigin: {ORIGIN}\r\nConnection: close\r\n\r\n");
    let long_url = request(&format!("GET /v1/events?x={long}"), "", "");
    let of_node = Node(431, "head-too-large");
    vec![
        ("no Host", no_host, BAD_REQUEST, Node(400, "bad-request")),
        ("two Hosts", history("Host: b\r\n"), BAD_REQUEST, BuiltIn),
        ("a line that is no field", history("no field\r\n"), BAD_REQUEST, BuiltIn),
        ("a long URL", long_url, Early(431, "head-too-large"), of_node),
        ("a long field", history(&format!("X: {long}\r\n")), HEAD_TOO_LARGE, of_node),
        ("a long head", history(&format!("X: {:x<30000}\r\n", "").repeat(5)), HEAD_TOO_LARGE, BuiltIn),
        // `HAProxy` had a limit of 101.
        ("120 fields", history(&"X: x\r\n".repeat(120)), of_node, of_node),
    ]
}

/// Bodies and their framing.
fn bodies() -> Vec<Row> {
    use By::{Any, BuiltIn, Node};
    let (bad_json, too_large) = (Node(400, "bad-json"), Node(413, "too-large"));
    let two_lengths = post("Content-Length: 1\r\nContent-Length: 2\r\n", "{");
    let both = post("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "0\r\n\r\n");
    let below_chunked = post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n");
    let long = "Content-Length: 9000000\r\n";
    vec![
        ("invalid JSON", post("Content-Length: 1\r\n", "{"), bad_json, bad_json),
        ("a length that is no number", post("Content-Length: x\r\n", ""), BAD_REQUEST, BuiltIn),
        ("two lengths", two_lengths, BAD_REQUEST, BuiltIn),
        ("a length and chunks", both, BAD_REQUEST, bad_json),
        ("an unknown coding", post("Transfer-Encoding: gzip\r\n", ""), NOT_IMPLEMENTED, BuiltIn),
        ("a coding below chunked", below_chunked, NOT_IMPLEMENTED, BuiltIn),
        ("a chunk without a size", post("Transfer-Encoding: chunked\r\n", "zz\r\n"), BAD_REQUEST, BuiltIn),
        ("a long body", post(long, ""), TOO_LARGE, too_large),
        ("a stream with a long body", request("GET /v1/events", long, ""), TOO_LARGE, Any),
        ("a probe with a long body", request("GET /healthz", long, ""), TOO_LARGE, Any),
    ]
}

async fn refused(kind: Kind) {
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("HTTP__ALLOWED_ORIGINS", ORIGIN).start().await;
    let balancer = Balancer::before(kind, [node.address(); 3]).await;
    let mut failed = Vec::new();
    for (name, call, nginx, haproxy) in [lines(), fields(), bodies()].concat() {
        let by = if kind == Kind::Nginx { nginx } else { haproxy };
        if let Err(error) = is_answered(balancer.address(), &call, by).await {
            failed.push(format!("{name}, {by:?}: {error}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn is_answered(to: SocketAddr, call: &str, by: By) -> Result<(), String> {
    if matches!(by, By::Any) {
        return Ok(());
    }
    // The end of a problem: `HAProxy` waits for the rest of a body that a node has refused.
    let answer = exchange(to, call, if matches!(by, By::BuiltIn) { "" } else { "\"}" }).await;
    match by {
        By::Own(status, code) => is_own_problem(&answer, status, code),
        By::Early(status, code) | By::Node(status, code) => is_problem(&answer, status, code),
        By::BuiltIn if [400, 422].contains(&answer.head.status) => Ok(()),
        By::BuiltIn | By::Any => Err(format!("{answer:?}")),
    }
}
