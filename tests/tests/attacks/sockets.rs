//! Sockets that are kept open and ask nothing.

use std::net::Ipv4Addr;

use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::tcp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Where the attacker comes from. Probes and the victim come from 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// How many sockets the attacker opens.
const SOCKETS: usize = 600;

async fn opened(node: &Node, from: Ipv4Addr, first: &[u8]) -> TcpStream {
    let mut socket = tcp::connect(node.address(), Some(from), None).await.unwrap();
    // It may be closed already.
    let _ = socket.write_all(first).await;
    socket
}

async fn is_closed(socket: &mut TcpStream) -> bool {
    let mut byte = [0];
    !matches!(timeout(SOON, socket.read(&mut byte)).await, Ok(Ok(1..)) | Err(_))
}

#[tokio::test]
async fn an_address_that_keeps_sockets_open_stops_neither_probes_nor_other_clients() {
    let redis = Redis::start().await;
    for (limit, value) in [("SOCKETS_PER_ADDRESS", "100"), ("SOCKETS", "100")] {
        let node = Node::of(&redis).set(&format!("LIMITS__{limit}"), value).start().await;
        let mut victim = node.stream().user("7").open().await;
        let mut kept = Vec::new();
        // Silent ones, and such that are about to ask something.
        for n in 0..SOCKETS {
            let first: &[u8] = if n % 2 == 0 { b"" } else { b"GET /healthz HTTP/1.1\r\nHos" };
            kept.push(opened(&node, ATTACKER, first).await);
            if n % 50 == 0 {
                assert_eq!(node.api().get("/healthz").await.status, 200, "{limit} after {n}");
            }
        }
        // The oldest made room.
        for socket in &mut kept[..400] {
            assert!(is_closed(socket).await, "{limit}");
        }
        until("evictions are counted", SOON, async || {
            let metrics = node.metrics().await;
            let evicted = metrics.sum("fanfare_sockets_evicted_total", &[]);
            if evicted >= 490.0 { Ok(()) } else { Err(format!("{evicted}")) }
        })
        .await;
        node.api().publish("user:7", "note", "still here").await;
        victim.expect_data("still here").await;
    }
}

#[tokio::test]
async fn an_address_with_requests_in_hand_is_refused_more_sockets_and_others_are_not() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .set("LIMITS__SOCKETS_PER_ADDRESS", "50")
        .set("HTTP__MIN_RATE_WINDOW", "1m")
        .start()
        .await;
    let head = b"POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n";
    let mut kept = Vec::new();
    for _ in 0..50 {
        kept.push(opened(&node, ATTACKER, head).await);
    }
    until("all requests are in hand", SOON, async || {
        let held = node.metrics().await.sum("fanfare_memory_bytes", &["kind=\"requests\""]);
        if held >= 51.0 * 4096.0 { Ok(()) } else { Err(format!("{held} bytes held")) }
    })
    .await;
    let mut more = opened(&node, ATTACKER, b"").await;
    assert!(is_closed(&mut more).await);
    let metrics = node.metrics().await;
    assert!(metrics.sum("fanfare_sockets_refused_total", &["limit=\"address\""]) >= 1.0);
    assert_eq!(node.api().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_node_that_refuses_keeps_what_it_has() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .set("LIMITS__SOCKETS_PER_ADDRESS", "5")
        .set("LIMITS__WHEN_FULL", "refuse")
        .start()
        .await;
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut socket = opened(&node, ATTACKER, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        kept.push(socket);
    }
    assert!(is_closed(&mut opened(&node, ATTACKER, b"").await).await);
    for socket in &mut kept {
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(!is_closed(socket).await);
    }
}
