//! One event for several channels: a result for each, refused as a whole, counted once for each.

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn an_event_is_stored_in_each_channel_with_a_result_for_each() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").channel("room:1").channel("room:2").open().await;
    let event = json!({"channels": ["room:1", "room:2"], "type": "t", "data": "x", "key": "k"});
    let post = async || cluster.b().api().post(&event).await.expect("an answer").json();
    let (first, again) = (post().await, post().await);
    for (n, channel) in ["room:1", "room:2"].into_iter().enumerate() {
        assert_eq!(&*client.expect("t").await.data, "x");
        let log = cluster.redis.stream(&format!("fanfare:{{{channel}}}:log")).await;
        assert_eq!(log.len(), 1, "once, with the key");
        let (first, again) = (&first["results"][n], &again["results"][n]);
        assert!(first["id"].is_string() && first["repeat"] == false, "{first}");
        assert_eq!((&again["id"], &again["repeat"]), (&first["id"], &json!(true)));
    }
    // One channel had it already, as after a call that failed midway.
    let more = json!([{"channel": "room:1", "data": "y"}, {"channels": ["room:3", "room:1"], "data": "x", "key": "k"}]);
    let answer = cluster.b().api().post(&more).await.expect("an answer").json();
    assert!(answer[0]["id"].is_string(), "{answer}");
    let repeats: Vec<_> =
        answer[1]["results"].as_array().expect("results").iter().map(|one| &one["repeat"]).collect();
    assert_eq!(repeats, [&json!(false), &json!(true)]);
}

#[tokio::test]
async fn a_channel_that_cannot_be_stored_has_its_reason_at_its_place() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    redis.get::<()>(&["SET", "fanfare:{room:2}:log", "of another type"]).await;
    let event = json!({"channels": ["room:1", "room:2", "room:3"], "data": "x"});
    let answer = node.api().post(&event).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.json()["results"].clone();
    assert!(results[0]["id"].is_string() && results[2]["id"].is_string(), "{results}");
    let detail = results[1]["error"]["detail"].as_str().expect("a reason");
    assert!(detail.starts_with("channels[1]"), "{detail}");
    assert_eq!(redis.stream("fanfare:{room:3}:log").await.len(), 1);
}

#[tokio::test]
async fn the_header_gives_the_same_key_to_each_channel() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let body = r#"[{"channels":["a","b"],"data":1},{"channels":["a","b"],"data":2}]"#;
    for _ in 0..2 {
        let headers = [JSON, ("idempotency-key", "k")];
        node.api().call("POST", "/v1/publish", &headers, body).await.expect("an answer");
    }
    for channel in ["a", "b"] {
        assert_eq!(redis.stream(&format!("fanfare:{{{channel}}}:log")).await.len(), 2);
    }
}

#[tokio::test]
async fn a_list_is_refused_as_a_whole_before_anything_is_stored() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let api = node.api().with_token(&Token::of("app").publish(&["room:*"]).sign());
    for (channels, status, code, word) in [
        (json!([]), 400, "bad-channel", "the list is empty"),
        (json!(["room:1", "a b"]), 400, "bad-channel", "channels[1]"),
        (json!(["room:1", "room:2", "room:1"]), 400, "bad-channel", "channels[2]"),
        (json!(["room:1", "doc:1"]), 403, "no-grant", "channels[1]"),
        (json!("room:1"), 400, "bad-json", "channels"),
    ] {
        let event = json!({"channels": channels, "data": "x"});
        let answer = api.post(&event).await.expect("an answer");
        answer.is_problem(status, code, &[word]).unwrap();
        let batch = api.post(&json!([event])).await.expect("an answer").json();
        fanfare_testkit::api::check_problem(&batch[0]["error"], status, code, &["item 0", word]).unwrap();
    }
    assert!(redis.keys("fanfare:{*}:log").await.is_empty());
}

#[tokio::test]
async fn each_channel_counts_towards_the_limits() {
    let redis = Redis::start().await;
    let limits = |node: fanfare_testkit::node::NodeBuilder| {
        let node = node.set("LIMITS__BATCH_EVENTS", "4").set("LIMITS__BATCH_BYTES", "64KiB");
        node.set("LIMITS__ADDRESS__EVENTS_PER_SECOND", "5")
    };
    let node = limits(Node::of(&redis)).start().await;
    let post = async |channels: usize, data: &str| {
        let channels: Vec<_> = (0..channels).map(|n| format!("room:{n}")).collect();
        node.api().post(&json!({"channels": channels, "data": data})).await.expect("an answer")
    };
    post(5, "x").await.is_problem(413, "too-large", &["5 events", "at most 4"]).unwrap();
    let large = "x".repeat(30 * 1024);
    post(3, &large).await.is_problem(413, "too-large", &["for each channel"]).unwrap();
    assert!(redis.keys("fanfare:{*}:log").await.is_empty());
    let answer = post(2, &large).await.json();
    assert_eq!(answer["results"].as_array().map(Vec::len), Some(2), "{answer}");
    let refused = async {
        for _ in 0..10 {
            let answer = post(4, "x").await;
            if answer.status != 200 {
                return answer;
            }
        }
        panic!("no rate");
    };
    refused.await.is_problem(429, "rate-limited", &["events"]).unwrap();
    let _: Value = node.api().get("/v1/channels/room:0/events").await.json();
}
