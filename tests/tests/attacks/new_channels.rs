//! A publisher that makes channel after channel.

use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};

#[tokio::test]
async fn a_publisher_makes_only_so_many_channels_and_publishes_to_those_there_are() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").set("LIMITS__USER__CHANNELS_PER_SECOND", "20").start().await;
    let publisher = |user: &str| node.api().with_token(&Token::of(user).publish(&["*"]).sign());
    let (eve, bob) = (publisher("eve"), publisher("bob"));
    let batch = |round: usize| -> Value {
        let event = |n: usize| {
            let key = format!("{round}-{n}");
            json!({"channel": format!("c:{round}:{n}"), "type": "t", "data": "x", "key": key})
        };
        (0..500).map(event).collect()
    };
    eve.publish("room:1", "t", "made before").await;
    // What one request makes is charged when it is done: the next ones wait for it.
    assert_eq!(eve.post(&batch(0)).await.unwrap().status, 200);
    for round in 1..20 {
        let answer = eve.post(&batch(round)).await.unwrap();
        assert_eq!(answer.status, 200);
        for item in answer.json().as_array().unwrap() {
            assert_eq!(item["error"]["type"], "/v1/problems#rate-limited", "{item}");
            let detail = item["error"]["detail"].as_str().unwrap();
            assert!(detail.contains("limits.user.channels_per_second"), "{detail}");
        }
    }
    let alone = eve.post(&json!({"channel": "c:new", "type": "t", "data": "x"})).await.unwrap();
    alone.is_problem(429, "rate-limited", &["20 new channels"]).unwrap_or_else(|e| panic!("{e}"));
    assert!(alone.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 1));
    // Each channel has a log, a last position and a key.
    let keys: usize = redis.get(&["DBSIZE"]).await;
    assert!(keys < 501 * 3 + 100, "{keys} keys in Redis");
    // Those that are there go on, mixed with those that are not; and others make theirs.
    let mixed = json!([
        {"channel": "room:1", "type": "t", "data": "x"},
        {"channel": "c:newer", "type": "t", "data": "x"},
        {"channel": "c:0:7", "type": "t", "data": "x", "ephemeral": true},
        {"channel": "c:ephemeral", "type": "t", "data": "x", "ephemeral": true},
    ]);
    let answer = eve.post(&mixed).await.unwrap().json();
    assert!(answer[0]["id"].is_string(), "{answer}");
    assert_eq!(answer[1]["error"]["type"], "/v1/problems#rate-limited");
    assert!(answer[2]["id"].is_null() && answer[2]["error"].is_null(), "{answer}");
    assert!(answer[3]["id"].is_null() && answer[3]["error"].is_null(), "{answer}");
    bob.publish("c:of:bob", "t", "x").await;
    let metrics = node.metrics().await;
    let labels = [r#"scope="user""#, r#"kind="channels""#];
    assert!(metrics.sum("fanfare_rate_limited_total", &labels) > 9000.0);
}
