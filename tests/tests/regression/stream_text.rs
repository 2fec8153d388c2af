//! Text that clients read in different ways: blocks without data, and events without an `id:`.
//!
//! Seven libraries drop the `id:` of a block without data, five hand it to the application as an empty message; some take the
//! `id:` of each event as their position, and have none after an event without.

use fanfare_testkit::client::Received;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::{Publisher, log_key};
use fanfare_testkit::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A stream's bytes without a parser: head, chunk sizes and all, until they contain a text.
async fn raw(node: &Node, query: &str, wanted: &str) -> String {
    let mut socket = TcpStream::connect(node.address()).await.unwrap();
    // HTTP/1.0 has no chunks.
    socket.write_all(format!("GET /v1/events?{query} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&bytes).contains(wanted) {
            assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "{}", String::from_utf8_lossy(&bytes));
        }
    };
    timeout(SOON, reading).await.unwrap_or_else(|_| panic!("no {wanted:?}"));
    String::from_utf8(bytes).unwrap().split_once("\r\n\r\n").unwrap().1.to_owned()
}

async fn node(configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Cluster {
    Cluster::on(Redis::start().await, 1, configure).await
}

#[tokio::test]
async fn the_first_block_is_whole_and_a_heartbeat_ends_no_block() {
    let cluster = node(|node| node.set("STREAM__HEARTBEAT", "200ms")).await;
    for query in ["user=42", "user=42&format=json"] {
        let text = raw(cluster.a(), query, "\n\n:\n:\n").await;
        let (first, rest) = text.split_once("\n\n").unwrap();
        let lines: Vec<&str> = first.lines().collect();
        let [id, retry, event, data] = lines[..] else { panic!("{first}") };
        let cursor = id.strip_prefix("id: ").unwrap();
        assert!(retry.strip_prefix("retry: ").unwrap().parse::<u32>().is_ok());
        assert_eq!(event, "event: connected");
        let data: serde_json::Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["cursor"], cursor);
        assert!(rest.bytes().all(|byte| matches!(byte, b':' | b'\n')) && !rest.contains("\n\n"), "{rest:?}");
    }
}

/// What a client that takes each event's `id:` as its position would come back with, which must be what one by the
/// standard has.
fn position(event: &Received) -> &str {
    assert!(event.has_id, "{event:?}");
    &event.last_id
}

#[tokio::test]
async fn every_event_has_the_cursor_and_only_kept_ones_move_it() {
    let cluster = Cluster::pair().await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    for format in ["raw", "json"] {
        let room = format!("room:{format}");
        let typing = r#"{"type":"typing","data":"x"}"#;
        let mut client =
            cluster.a().stream().user("42").channel(&room).parameter("format", format).open().await;
        let connected = position(&client.received()[0]).to_owned();
        publisher.ephemeral(&room, typing).await.unwrap();
        assert_eq!(position(&client.next().await), connected);
        publisher.publish(&room, "order", "1").await;
        let moved = position(&client.next().await).to_owned();
        assert_ne!(moved, connected);
        publisher.ephemeral(&room, typing).await.unwrap();
        assert_eq!(position(&client.next().await), moved);
    }
}

#[tokio::test]
async fn the_cursor_of_a_gap_claims_nothing_that_was_not_received() {
    let cluster = Cluster::pair().await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut client = cluster.a().stream().user("42").open().await;
    publisher.publish("user:42", "order", "1").await;
    let held = position(&client.expect_data("1").await).to_owned();
    client.close();
    publisher.publish_all("user:42", "order", &["2", "3", "4", "5"]).await;
    cluster.redis.cli(&["XTRIM", &log_key("user:42"), "MAXLEN", "2"]).await;
    // On the other node, which has seen none of them.
    for _ in 0..2 {
        client.resume(cluster.b()).await;
        assert_eq!(position(&client.expect("gap").await), held);
        // It leaves here and reconnects with the cursor of the gap: it gets the gap again.
        client.close();
    }
    client.resume(cluster.b()).await;
    client.expect("gap").await;
    client.expect_data("4").await;
    client.expect_data("5").await;
}

#[tokio::test]
async fn every_last_word_has_the_cursor() {
    let configure = |node: NodeBuilder| node.set("STREAM__IDLE_TIMEOUT", "2s").set("DRAIN__NOTICE", "0s");
    let mut cluster = node(configure).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let session = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
    let mut client = cluster.a().stream().user("42").session(session).open().await;
    publisher.publish("user:42", "t", "1").await;
    let held = position(&client.expect("t").await).to_owned();
    let mut newer = cluster.a().stream().user("42").session(session).after(&held).open().await;
    assert_eq!(position(&client.expect("superseded").await), held);
    assert_eq!(position(&newer.expect("expired").await), held);
    newer.resume(cluster.a()).await;
    cluster.a().terminate();
    assert_eq!(position(&newer.expect("shutdown").await), held);
    assert!(cluster.nodes[0].ended(SOON).await.success());
}

#[tokio::test]
async fn a_client_that_is_turned_away_keeps_the_cursor_that_it_came_with() {
    let cluster = node(|node| node.set("LIMITS__CONNECTIONS", "1")).await;
    let first = cluster.a().stream().user("42").open().await;
    let cursor = first.last_id().to_owned();
    let ask = || cluster.a().stream().user("43");
    for request in
        [ask().header("Last-Event-ID", &cursor), ask().after(&cursor), ask().after("1718031234567-3")]
    {
        let mut client = request.send().await;
        let refusal = client.expect("overloaded").await;
        assert!(
            refusal.has_id && [cursor.as_str(), "1718031234567-3"].contains(&refusal.last_id.as_str()),
            "{refusal:?}"
        );
    }
    // Who has none is given none: a point in time is no cursor.
    for request in [ask(), ask().after("latest"), ask().after("earliest"), ask().after("1718031234567")] {
        assert!(!request.send().await.expect("overloaded").await.has_id);
    }
}
