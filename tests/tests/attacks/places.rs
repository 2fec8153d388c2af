//! Streams that ended and whose clients do not close: their sockets count until they are gone.

use std::time::Duration;

use fanfare_testkit::deadline::{SOON, becomes, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

/// A client that never closes.
async fn hold(node: &Node, token: &str, session: &str) -> TcpStream {
    let mut socket = TcpStream::connect(node.address()).await.expect("the node listens");
    let request = format!(
        "GET /v1/events?session={session} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("the node reads");
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("event: connected") {
        assert_ne!(socket.read_buf(&mut text).await.expect("the node answers"), 0);
    }
    socket
}

#[tokio::test]
async fn superseded_streams_whose_clients_do_not_close_stay_within_the_users_places() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .auth("jwt")
        .set("LIMITS__USER__CONNECTS_PER_SECOND", "1000")
        .set("LIMITS__SESSIONS_PER_USER", "8")
        // So long that what is closed is closed for another reason.
        .set("STREAM__LINGER", "10m")
        .start()
        .await;
    let (eve, session) = (Token::of("eve").sign(), Uuid::new_v4().to_string());
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(hold(&node, &eve, &session).await);
    }
    becomes("no more sockets are held than sessions allowed", 8.0, async || node.streams().await).await;
    let metrics = node.metrics().await;
    assert!((metrics.sum("sse_lingering_connections", &[]) - 7.0).abs() < 0.5);
    assert!((metrics.sum("sse_lingering_skipped_total", &[]) - 92.0).abs() < 0.5);
    // They are closed, not leaked, and got the reason.
    let mut closed = 0;
    for socket in &mut sockets {
        let mut text = Vec::new();
        if tokio::time::timeout(Duration::from_millis(20), socket.read_to_end(&mut text)).await.is_ok() {
            closed += 1;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.is_empty() || text.contains("event: superseded"), "{text}");
    }
    assert!(closed >= 92, "{closed} of 100 were closed by the node");
    // Another user's ended stream still waits for its client.
    let bob = Token::of("bob").sign();
    let (_old, _new) = (hold(&node, &bob, &session).await, hold(&node, &bob, &session).await);
    becomes("bob's old stream lingers", 8.0, async || {
        node.metrics().await.sum("sse_lingering_connections", &[])
    })
    .await;
}

#[tokio::test]
async fn a_user_who_ends_all_streams_and_opens_new_ones_holds_no_more_sockets_than_sessions() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .auth("jwt")
        .set("LIMITS__USER__CONNECTS_PER_SECOND", "1000")
        .set("LIMITS__SESSIONS_PER_USER", "4")
        .set("STREAM__LINGER", "10m")
        .start()
        .await;
    let eve = Token::of("eve").sign();
    let api = node.api().with_token(&eve);
    let mut sockets = Vec::new();
    for _ in 0..6 {
        for _ in 0..4 {
            sockets.push(hold(&node, &eve, &Uuid::new_v4().to_string()).await);
        }
        assert_eq!(api.delete("/v1/users/eve/sessions").await.json()["disconnected"], 4);
        until("the sessions are given up", SOON, async || {
            let left: u64 = redis.get(&["HLEN", "fanfare:{user:eve}:sessions"]).await;
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
    }
    until("sockets are within the limit", SOON, async || {
        let held = node.streams().await;
        if held <= 4.0 { Ok(()) } else { Err(held) }
    })
    .await;
}
