//! Messages on a live topic that the publish script did not write.

use fanfare_testkit::deadline::{SOON, becomes, until};

use super::{GOOD, scene};

#[tokio::test]
async fn a_live_topic_message_that_is_not_an_event_is_dropped() {
    let mut scene = scene().await;
    let long = format!("{{\"data\":\"{}\"}}", "x".repeat(61_441));
    let messages: &[&[u8]] = &[
        b"",
        b"hello",
        b"\xff\xfe",
        b"1",
        b"1 ",
        b"1 5-0\nx",
        b"1 5-0 4-0\nx",
        b"1 x 4-0 t\nd",
        b"1 5-0 x t\nd",
        b"1 5-0 5-0 t\nd",
        b"1 4-0 5-0 t\nd",
        b"1 05-0 4-0 t\nd",
        b"1 5-0 4-0 gap\nd",
        b"1 5-0 4-0 t\n\xff",
        b"12 5-0 4-0 t\nd",
        b"2 5-0 4-0 t\nd",
        // Whole, and long past: a duplicate.
        b"1 5-0 4-0 t\nd",
        b"1 99999999999999999999-0 4-0 t\nd",
        b"{",
        b"{}",
        b"[]",
        b"{\"data\":1,\"x\":2}",
        b"{\"type\":\"t\"}",
        b"{\"type\":7,\"data\":1}",
        b"{\"type\":\"gap\",\"data\":1}",
        b"{\"type\":\"connected\",\"data\":{}}",
        b"{\"type\":\"a\\nid: 7\",\"data\":1}",
        b"{\"type\":\"\",\"data\":1}",
        b"{\"data\":\"\\ud800\"}",
        b"{\"data\":\"\xff\"}",
        b"{\"data\":1} x",
        long.as_bytes(),
    ];
    for message in messages {
        let receivers = scene.publisher.ephemeral(GOOD, message).await.unwrap();
        assert_eq!(receivers, 1, "the node is subscribed to the topic for ephemeral events");
        let receivers = scene.publisher.forge(GOOD, message).await.unwrap();
        assert_eq!(receivers, 1, "the node is subscribed to the live topic");
        // The client's account would show whatever got through as foreign.
        let case: String = String::from_utf8_lossy(message).chars().take(60).collect();
        scene.after(&case, Ok(())).await;
    }
    // One that is good gets through still.
    scene.publisher.ephemeral(GOOD, br#"{"type":"typing","data":{"x": 1}}"#).await.unwrap();
    let event = scene.client.expect("typing").await;
    assert_eq!((&*event.data, event.has_id), (r#"{"x":1}"#, true));
    scene.finish(32).await;
}

#[tokio::test]
async fn each_topic_takes_its_own_kind_of_message_only() {
    let mut scene = scene().await;
    let malformed = async |scene: &super::Scene| {
        scene.cluster.a().metrics().await.sum("fanfare_pubsub_malformed_total", &[])
    };
    // An ACL that lets a publisher send ephemeral events lets it send nothing else.
    scene.publisher.ephemeral(GOOD, b"1 5-0 4-0 t\nd").await.unwrap();
    scene.publisher.forge(GOOD, br#"{"type":"typing","data":1}"#).await.unwrap();
    scene.after("both", Ok(())).await;
    // An event may reach the client by its log before the node has read these messages.
    becomes("both are counted", "2".to_owned(), async || malformed(&scene).await.to_string()).await;
    until("the topic is named", SOON, async || {
        let log = scene.cluster.a().log();
        if log.contains("ephemeral events use the topic") { Ok(()) } else { Err(log) }
    })
    .await;
    scene.finish(1).await;
}

#[tokio::test]
async fn an_event_that_only_claims_to_be_kept_is_not_shown_twice_nor_does_it_hide_others() {
    let mut scene = scene().await;
    scene.after("warm", Ok(())).await;
    // It lies in the future and says that something came before it: the node reads the log, and finds neither.
    let later = "9999999999999-0";
    let forged = format!("1 {later} 9999999999998-0 t\nforged");
    scene.publisher.forge(GOOD, forged.as_bytes()).await.unwrap();
    for _ in 0..5 {
        scene.publisher.issue(&scene.ledger, GOOD).await;
    }
    scene.account.follow(&mut scene.client, &scene.ledger, SOON).await;
    scene.finish(1).await;
}
