//! Floods that cost next to nothing to send: control frames, and what is logged of them.

use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, ENHANCE_YOUR_CALM, Frames, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, frame, head,
};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

/// What is sent again and again.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("answers to no PING", frame(PING, ACK, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("empty SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 16])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
        ("DATA of a byte", frame(DATA, 0, 1, b" ")),
        ("frames that are not known", frame(0x42, 0, 0, b"nothing")),
    ]
}

#[tokio::test]
async fn a_flood_of_control_frames_ends_its_connection_and_no_other() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut victim = node.stream().user("7").open().await;
    let mut ended = 0.0;
    for (name, flood) in floods() {
        let mut client = Frames::connect(node.address(), &[]).await.unwrap();
        // With a request that is open, so that its stream is one.
        client.request("POST", "/v1/publish", &[("content-type", "application/json")], true).await.unwrap();
        for _ in 0..200 {
            if client.send(&flood.repeat(50)).await.is_err() {
                break;
            }
        }
        // The peer may have reset the connection, since bytes came when it was closed.
        if let Some(error) = client.farewell().await {
            assert_eq!(error, ENHANCE_YOUR_CALM, "{name}");
        }
        let metrics = node.metrics().await;
        // h2 ends some of them by itself.
        let closed = metrics.sum("fanfare_http2_floods_total", &[])
            + metrics.sum("fanfare_http_connection_errors_total", &[]);
        ended += 1.0;
        assert!(closed >= ended, "{name}: {closed}");
    }
    assert!(node.metrics().await.sum("fanfare_http2_floods_total", &[]) >= 6.0);
    node.api().publish("user:7", "note", "still here").await;
    victim.expect_data("still here").await;
}

#[tokio::test]
async fn a_flood_of_heads_and_resets_ends_its_connection() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    for name in ["resets", "continuations"] {
        let mut client = Frames::connect(node.address(), &[]).await.unwrap();
        let block = head("GET", "/healthz", &[]);
        let mut ended = false;
        for n in 0..5000 {
            let stream = 2 * n + 1;
            let bytes = if name == "resets" {
                [frame(HEADERS, 1 | END_HEADERS, stream, &block), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
                    .concat()
            } else if n == 0 {
                frame(HEADERS, 1, 1, &block)
            } else {
                frame(CONTINUATION, 0, 1, &[])
            };
            ended |= client.send(&bytes).await.is_err();
        }
        client.farewell().await;
        assert!(ended || name == "resets", "{name}");
    }
    assert_eq!(node.api().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_client_that_pings_now_and_then_and_takes_a_busy_stream_stays() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut client = Frames::connect(node.address(), &[]).await.unwrap();
    let stream = client.request("GET", "/v1/events?channel=a", &[], false).await.unwrap();
    client.send(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 24).to_be_bytes())).await.unwrap();
    for n in 0..150 {
        client.send(&frame(PING, 0, 0, &[1; 8])).await.unwrap();
        if n == 0 {
            until(
                "it is open",
                SOON,
                async || if node.streams().await > 0.0 { Ok(()) } else { Err("not yet") },
            )
            .await;
        }
        node.api().publish("a", "note", "x").await;
        client.send(&frame(WINDOW_UPDATE, 0, stream, &100_u32.to_be_bytes())).await.unwrap();
        client.send(&frame(WINDOW_UPDATE, 0, 0, &100_u32.to_be_bytes())).await.unwrap();
    }
    assert!(node.metrics().await.sum("fanfare_http2_floods_total", &[]) < 1.0);
}

#[tokio::test]
async fn no_line_of_the_log_can_be_caused_as_often_as_a_client_likes() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let before = node.log().len();
    let block = head("GET", "/v1/events", &[]);
    let garbage: [&[u8]; 5] = [
        b"\x00\xff nothing that is HTTP\r\n\r\n",
        b"GET /v1/events?after=yesterday HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/events?channel=%00&nonsense=1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n[",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no hello of TLS",
    ];
    for _ in 0..100 {
        let mut client = Frames::connect(node.address(), &[]).await.unwrap();
        let mut bytes = Vec::new();
        for n in 0..60 {
            bytes.extend(frame(HEADERS, 1 | END_HEADERS, 2 * n + 1, &block));
            bytes.extend(frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]));
        }
        bytes.extend(frame(PING, ACK, 0, &[9; 8]).repeat(20));
        let _ = client.send(&bytes).await;
        for bytes in garbage {
            let mut socket = fanfare_testkit::tcp::connect(node.address(), None, None).await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, bytes).await;
        }
    }
    until("all of it was looked at", SOON, async || {
        let ended = node.metrics().await.sum("fanfare_http_connection_errors_total", &[]);
        if ended >= 200.0 { Ok(()) } else { Err(format!("{ended} connections ended by an error")) }
    })
    .await;
    let log = node.log();
    let lines = log[before..].lines().count();
    assert!(lines < 40, "{lines} lines: {:.3000}", &log[before..]);
    assert!(!log.contains("h2::"), "{:.3000}", &log[before..]);
}
