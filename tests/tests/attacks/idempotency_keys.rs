//! Idempotency keys that are long or many: each takes memory of Redis.

use std::time::{Duration, Instant};

use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const KEYS: &str = "fanfare:*:once:*";
/// The longest key, in bytes.
const LONGEST: usize = 128;

#[tokio::test]
async fn a_key_is_bounded_in_length_and_in_time_on_every_way_in() {
    const WINDOW: Duration = Duration::from_secs(5);
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("PUBLISH__IDEMPOTENCY_WINDOW", "5s").start().await;
    let mut publisher = Publisher::on(&redis).await;
    let event = |key: &str| json!({"channel": "room:1", "type": "t", "data": "x", "key": key});
    let by_header = async |key: &str| {
        let body = json!({"channel": "room:1", "type": "t", "data": "x"}).to_string();
        node.api().call("POST", "/v1/publish", &[JSON, ("idempotency-key", key)], body).await.unwrap().status
    };
    let entry = |key: &str| {
        [("channel", "room:1"), ("type", "t"), ("data", "x"), ("key", key)]
            .map(|(name, value)| (name, value.as_bytes().to_vec()))
    };
    let dead = async |least: usize| {
        until("the entry is in the dead-letter stream", SOON, async || {
            let dead: usize = redis.get(&["XLEN", "fanfare:ingest:dead"]).await;
            if dead >= least { Ok(()) } else { Err(dead) }
        })
        .await;
    };

    let long = "k".repeat(LONGEST + 1);
    assert_eq!(node.api().post(&event(&long)).await.unwrap().status, 400);
    let batch = node.api().post(&json!([event(&long)])).await.unwrap().json();
    assert_eq!(batch[0]["error"]["status"], 400, "{batch}");
    assert_eq!(by_header(&long).await, 400);
    assert!(publisher.call("room:1", "t", "x", Some(&long)).await.is_err());
    let fields = entry(&long);
    publisher.ingest(&fields.each_ref().map(|(name, value)| (*name, &**value))).await.unwrap();
    dead(1).await;
    assert_eq!(redis.keys(KEYS).await, Vec::<String>::new());

    // One for each way in, as long as they may be.
    let key = |first: &str| first.repeat(LONGEST);
    assert_eq!(node.api().post(&event(&key("a"))).await.unwrap().status, 200);
    assert_eq!(by_header(&key("b")).await, 200);
    publisher.call("room:1", "t", "x", Some(&key("c"))).await.unwrap();
    let fields = entry(&key("d"));
    publisher.ingest(&fields.each_ref().map(|(name, value)| (*name, &**value))).await.unwrap();
    until("the entry is published", SOON, async || {
        let exists: usize = redis.get(&["EXISTS", &format!("fanfare:{{room:1}}:once:{}", key("d"))]).await;
        if exists == 1 { Ok(()) } else { Err("not yet") }
    })
    .await;
    let window = i64::try_from(WINDOW.as_millis()).unwrap();
    for name in redis.keys(KEYS).await {
        let left: i64 = redis.get(&["PTTL", &name]).await;
        // -2: it has expired meanwhile. -1 would be for ever.
        assert!(left == -2 || (0..=window).contains(&left), "{name} lives for {left} ms");
        let bytes: Option<usize> = redis.get(&["MEMORY", "USAGE", &name]).await;
        assert!(bytes.unwrap_or_default() <= 150 + 2 * LONGEST, "{name} takes {bytes:?} bytes");
    }
    until("all keys have expired", SOON, async || {
        let left = redis.keys(KEYS).await;
        if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
    })
    .await;
}

#[tokio::test]
async fn a_publisher_with_a_new_key_for_each_event_leaves_no_more_keys_than_its_rate_allows() {
    const RATE: usize = 50;
    let redis = Redis::start().await;
    let node =
        Node::of(&redis).auth("jwt").set("LIMITS__USER__EVENTS_PER_SECOND", &RATE.to_string()).start().await;
    let publisher = |user: &str| node.api().with_token(&Token::of(user).publish(&["room:*"]).sign());
    let (eve, bob) = (publisher("eve"), publisher("bob"));
    let event = |key: String| json!({"channel": "room:1", "type": "t", "data": "x", "key": key});
    let begun = Instant::now();
    let mut refused = 0;
    for round in 0..100 {
        let batch: Value = (0..RATE).map(|n| event(format!("{round}-{n}"))).collect();
        refused += usize::from(eve.post(&batch).await.unwrap().status == 429);
    }
    let keys = redis.keys(KEYS).await.len();
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    // A second's worth at once, and the last batch, which may be larger than what is left.
    assert!(keys <= RATE * (seconds + 2), "{keys} keys after {seconds} s");
    assert!(keys >= RATE && refused > 0, "{keys} keys, {refused} refused");
    assert_eq!(bob.post(&event("bob's".into())).await.unwrap().status, 200);
}
