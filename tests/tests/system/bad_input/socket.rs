//! What is no HTTP at all, or too much of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Check, Scene, scene_with};

/// Sends bytes and reads what comes back until the node closes.
async fn sent(scene: &Scene, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(scene.cluster.a().address()).await.expect("it listens");
    // The node may have answered and closed before it has read all.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await;
    match read {
        Err(_) => "it does not close".to_owned(),
        Ok(Err(e)) if answer.is_empty() => format!("reset: {e}"),
        Ok(_) => String::from_utf8_lossy(&answer).into_owned(),
    }
}

fn answered(answer: &str, status: &str) -> Check {
    let wanted = format!("HTTP/1.1 {status}");
    if answer.starts_with(&wanted) { Ok(()) } else { Err(answer.chars().take(100).collect()) }
}

#[tokio::test]
async fn what_is_no_http_is_answered_or_closed() {
    let mut scene = scene_with(|node| node.set("HTTP__HEADER_READ_TIMEOUT", "1s")).await;
    let long = format!("GET /v1/events?after={} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(2 << 20));
    let header = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2 << 20));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5000));
    let both = "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello";
    for (case, bytes, status) in [
        ("TLS", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], "400"),
        ("nonsense", b"hello\r\n\r\n", "400"),
        ("a header without a colon", b"GET /healthz HTTP/1.1\r\nHost a\r\n\r\n", "400"),
        ("a header with NUL", b"GET /healthz HTTP/1.1\r\nHost: a\0b\r\n\r\n", "400"),
        ("two lengths", both.as_bytes(), "400"),
        (
            "a length that is none",
            b"POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            "400",
        ),
        ("a long path", long.as_bytes(), "4"),
        ("a long header", header.as_bytes(), "431"),
        ("many headers", many.as_bytes(), "431"),
    ] {
        let answer = sent(&scene, bytes).await;
        // A node that closes with unread bytes resets the connection: then the answer may be lost on the way.
        let check =
            answered(&answer, status).or_else(|e| if answer.starts_with("reset") { Ok(()) } else { Err(e) });
        scene.after(case, check).await;
    }
    // A head that never ends: the node does not wait for ever.
    let answer = sent(&scene, b"GET /healthz HTTP/1.1\r\nHost: a\r\n").await;
    let check = if answer == "it does not close" { Err(answer) } else { Ok(()) };
    scene.after("half a head", check).await;
    scene.finish(10).await;
}

#[tokio::test]
async fn what_follows_a_request_for_a_stream_on_the_same_connection_does_no_harm() {
    let mut scene = scene_with(|node| node).await;
    let twice = "GET /v1/events?user=x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
    let mut socket = TcpStream::connect(scene.cluster.a().address()).await.unwrap();
    socket.write_all(twice.as_bytes()).await.unwrap();
    socket.write_all(&vec![b'x'; 1 << 20]).await.ok();
    scene.after("more bytes behind a stream's request", Ok(())).await;
    drop(socket);
    scene.finish(1).await;
}
