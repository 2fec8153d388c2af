//! Bytes that clients send before the node reads them: they count towards `limits.memory` as well.

use std::net::Ipv4Addr;

use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::tcp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// Number of connections of the attacker.
const CONNECTIONS: usize = 8;

async fn held(node: &Node, kind: &str) -> f64 {
    node.metrics().await.sum("fanfare_memory_bytes", &[&format!("kind=\"{kind}\"")])
}

async fn becomes_at_least(node: &Node, kind: &str, bytes: usize) {
    let bytes = f64::from(u32::try_from(bytes).unwrap());
    until(&format!("{bytes} bytes of {kind} are held"), SOON, async || {
        let held = held(node, kind).await;
        if held >= bytes { Ok(()) } else { Err(format!("{held} bytes")) }
    })
    .await;
}

async fn becomes_free(node: &Node, kind: &str) {
    until(&format!("{kind} are given back"), SOON, async || {
        let held = held(node, kind).await;
        // The call for the metrics is a request, too.
        if held < 10_000.0 { Ok(()) } else { Err(format!("{held} bytes")) }
    })
    .await;
}

/// Requests behind a body, in the same read as its end: HTTP/1.1 keeps them while the answers before them wait.
#[tokio::test]
async fn pipelined_requests_count_while_the_answers_are_not_read() {
    const HALF: usize = 200_000;
    let redis = Redis::start().await;
    let node = Node::of(&redis).admin().start().await;
    for n in 0..20 {
        node.api().publish("a", "note", &n.to_string().repeat(25_000)).await;
    }
    let half = " ".repeat(HALF);
    let begin = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{half}",
        2 * HALF
    );
    let large = "GET /v1/channels/a/events?limit=1000 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20);
    let padded = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1000)).repeat(60);
    let rest = [half, large, padded].concat();
    let mut sockets: Vec<TcpStream> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut socket = tcp::connect(node.address(), Some(ATTACKER), Some(2048)).await.unwrap();
        socket.write_all(begin.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    becomes_at_least(&node, "bodies", CONNECTIONS * HALF).await;
    for socket in &mut sockets {
        timeout(SOON, socket.write_all(rest.as_bytes())).await.unwrap().unwrap();
    }
    // A request by itself takes 4 KiB.
    becomes_at_least(&node, "requests", CONNECTIONS * 16 * 1024).await;
    drop(sockets);
    becomes_free(&node, "requests").await;
}

/// Heads that were answered are not held, or a balancer's connection would use up its share.
#[tokio::test]
async fn a_connection_holds_no_more_after_many_requests() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).admin().start().await;
    let mut socket = tcp::connect(node.address(), None, None).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(4000));
    let mut answer = vec![0; 4096];
    for _ in 0..300 {
        socket.write_all(request.as_bytes()).await.unwrap();
        let read = timeout(SOON, socket.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    }
    let held = held(&node, "requests").await;
    assert!(held < 32_000.0, "{held} bytes");
}
