//! What a client acknowledged: on any node, for another device, over a restart of Redis.

use fanfare_testkit::api::Answer;
use fanfare_testkit::client::{Client, Received};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};

fn token(user: &str) -> String {
    Token::of(user).subscribe(&["room:*"]).publish(&["room:*", "user:*"]).sign()
}

async fn acknowledge(node: &Node, user: &str, body: &Value) -> Answer {
    let api = node.api().with_token(&token(user));
    let headers = [("content-type", "application/json")];
    api.call("POST", "/v1/ack", &headers, body.to_string()).await.expect("an answer")
}

/// Number of channels in which the acknowledged position moved.
async fn moved(node: &Node, user: &str, body: &Value) -> Value {
    let answer = acknowledge(node, user, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["moved"].clone()
}

/// Opens a stream of a user that starts after what a device acknowledged.
async fn resume(node: &Node, user: &str, device: &str) -> Client {
    let stream = node.stream().token(&token(user)).channel("room:1").channel("room:2");
    stream.after("acked").parameter("device", device).open().await
}

/// The events of publishers that a client received.
fn events(client: &Client) -> Vec<&Received> {
    client.received().iter().filter(|event| !event.is_control()).collect()
}

#[tokio::test]
async fn another_device_goes_on_after_what_was_acknowledged_also_after_redis_restarted() {
    let mut cluster = Cluster::on(Redis::durable().await, 3, |node| node.auth("jwt")).await;
    let mut phone = resume(cluster.a(), "7", "inbox").await;
    let publisher = cluster.b().api().with_token(&token("1"));
    for (channel, data) in [("room:1", "1"), ("room:2", "2"), ("room:1", "3"), ("room:2", "4")] {
        publisher.publish(channel, "x", data).await;
        phone.expect("x").await;
    }
    // Each channel goes on after its own last event that was acknowledged.
    let cursor = events(&phone)[2].last_id.clone();
    assert_eq!(moved(cluster.b(), "7", &json!({"device": "inbox", "cursor": cursor})).await, 4);
    phone.close();
    for (at, node) in cluster.nodes.iter().enumerate() {
        let mut laptop = resume(node, "7", "inbox").await;
        laptop.expect_data("4").await;
        assert_eq!(events(&laptop).len(), 1, "node {at}");
    }
    cluster.redis.stop().await;
    cluster.redis.start_again().await;
    for node in &cluster.nodes {
        node.ready().await;
    }
    let mut laptop = resume(cluster.b(), "7", "inbox").await;
    laptop.expect_data("4").await;
    // An older cursor changes nothing, a newer one does.
    let (before, newest) = (events(&phone)[0].last_id.clone(), laptop.last_id().to_owned());
    assert_eq!(moved(cluster.a(), "7", &json!({"device": "inbox", "cursor": before})).await, 0);
    assert_eq!(moved(cluster.a(), "7", &json!([{"device": "inbox", "cursor": newest}])).await, 1);
    let mut tablet = resume(cluster.a(), "7", "inbox").await;
    publisher.publish("room:1", "x", "5").await;
    tablet.expect_data("5").await;
    assert_eq!(events(&tablet).len(), 1);
}

#[tokio::test]
async fn devices_sessions_and_users_have_acknowledged_cursors_of_their_own() {
    let cluster = Cluster::on(Redis::start().await, 2, |node| node.auth("jwt")).await;
    let publisher = cluster.a().api().with_token(&token("1"));
    let first = publisher.publish("room:1", "x", "1").await;
    publisher.publish("room:1", "x", "2").await;
    let session = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
    for reader in [json!({"device": "a"}), json!({"session": session})] {
        let mut body = json!({"channel": "room:1", "id": first.to_string()});
        body.as_object_mut().expect("an object").extend(reader.as_object().expect("an object").clone());
        assert_eq!(moved(cluster.a(), "7", &body).await, 1, "{body}");
    }
    resume(cluster.b(), "7", "a").await.expect_data("2").await;
    let stream = cluster.b().stream().token(&token("7")).channel("room:1").session(session).after("acked");
    stream.open().await.expect_data("2").await;
    // Without an acknowledged cursor a stream starts with new events.
    let mut others = [resume(cluster.b(), "7", "b").await, resume(cluster.b(), "8", "a").await];
    publisher.publish("room:1", "x", "3").await;
    for other in &mut others {
        other.expect_data("3").await;
        assert_eq!(events(other).len(), 1);
    }
    let cursor = |user: &'static str, query: &'static str| {
        let api = cluster.b().api().with_token(&token(user));
        async move { api.get(&format!("/v1/ack?{query}")).await }
    };
    assert!(
        cursor("7", "device=a").await.json()["cursor"].as_str().is_some_and(|cursor| cursor.starts_with('a'))
    );
    assert_eq!(cursor("8", "device=a").await.json(), json!({"cursor": null}));
    for (query, word) in
        [("", "device or session"), ("device=a%20b", "device: "), ("device=a&session=b", "not both")]
    {
        cursor("7", query).await.is_problem(400, "bad-request", &[word]).expect(query);
    }
    let refused = cluster.b().stream().token(&token("7")).after("acked").send().await;
    refused.answer().await.is_problem(400, "bad-request", &["device or the session"]).expect("no reader");
}

#[tokio::test]
async fn an_event_that_was_removed_since_is_a_gap() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node.auth("jwt")).await;
    let publisher = cluster.a().api().with_token(&token("1"));
    let first = publisher.publish("room:1", "x", "1").await;
    let body = json!({"device": "a", "channel": "room:1", "id": first.to_string()});
    assert_eq!(moved(cluster.a(), "7", &body).await, 1);
    publisher.publish("room:1", "x", "2").await;
    publisher.publish("room:1", "x", "3").await;
    cluster.redis.get::<u64>(&["XTRIM", "fanfare:{room:1}:log", "MAXLEN", "1"]).await;
    let mut client = resume(cluster.a(), "7", "a").await;
    assert_eq!(client.expect("gap").await.json()["channel"], "room:1");
    client.expect_data("3").await;
}

#[tokio::test]
async fn publishers_read_receipts_of_events_that_were_acknowledged_by_their_ids() {
    let cluster =
        Cluster::on(Redis::start().await, 2, |node| node.auth("jwt").set("ACK__RECEIPTS", "1000")).await;
    let id = cluster.a().api().with_token(&token("1")).publish("room:1", "x", "1").await.to_string();
    let event = json!({"device": "a", "channel": "room:1", "id": id});
    for node in &cluster.nodes {
        acknowledge(node, "7", &event).await;
    }
    let receipts = cluster.redis.stream("fanfare:receipts").await;
    assert_eq!(receipts.len(), 2, "a repeated acknowledgement is told again: {receipts:?}");
    for (_, fields) in receipts {
        let expected = [("user", "7"), ("reader", "device:a"), ("channel", "room:1"), ("id", &*id)];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let answer = acknowledge(cluster.a(), "7", &json!({"device": "a", "channel": "other", "id": id})).await;
    answer.is_problem(403, "no-grant", &["other"]).expect("a channel that the token does not grant");
}

#[tokio::test]
async fn a_stream_waits_for_redis_rather_than_start_elsewhere() {
    let mut cluster = Cluster::on(Redis::durable().await, 1, |node| node.auth("jwt")).await;
    let publisher = cluster.a().api().with_token(&token("1"));
    let first = publisher.publish("room:1", "x", "1").await;
    publisher.publish("room:1", "x", "2").await;
    let body = json!({"device": "a", "channel": "room:1", "id": first.to_string()});
    assert_eq!(moved(cluster.a(), "7", &body).await, 1);
    cluster.redis.stop().await;
    let mut client = {
        let stream = cluster.a().stream().token(&token("7")).channel("room:1");
        stream.after("acked").parameter("device", "a").send().await
    };
    assert_eq!(client.expect("overloaded").await.json()["reason"], "unavailable");
    cluster.redis.start_again().await;
    // As a browser does, until the node is connected again.
    eventually("the client is served", async || {
        client.reconnect(cluster.a()).await;
        client.next().await.kind == "connected"
    })
    .await;
    client.expect_data("2").await;
}
