//! JSON data was parsed into a tree and written again: duplicate keys were lost, numbers rewritten, and an object with a
//! private name of the parser was replaced by JSON of its writer's choice.

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::publisher::{ephemeral_topic, log_key};
use serde_json::json;

/// JSON texts that a tree does not keep.
const ODD: [&str; 14] = [
    "1E5",
    "1.0",
    "-0",
    "1e400",
    "123456789012345678901234567890.10",
    r#"{"a":1,"a":2}"#,
    r#"{"b":1,"a":2}"#,
    r#"["\u0041","\/","\ud800","é"]"#,
    r#"{"$serde_json::private::Number":"42"}"#,
    r#"{"$serde_json::private::Number":"word"}"#,
    r#"{"$serde_json::private::RawValue":"{\"admin\":true}"}"#,
    r#"{"x":[{"$serde_json::private::RawValue":"[1,2]"}]}"#,
    "[ ]",
    "null",
];

fn without_spaces(text: &str) -> String {
    text.replace("[ ]", "[]")
}

fn body(channel: &str, data: &str, more: &str) -> String {
    format!(r#" {{ "channel" : "{channel}" , "data" : {data} {more}}} "#)
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn json_data_arrives_as_it_was_sent_by_every_way_in_and_in_both_formats() {
    let cluster = Cluster::pair().await;
    let mut raw = cluster.a().stream().user("7").open().await;
    let mut enveloped = cluster.b().stream().user("7").parameter("format", "json").open().await;
    let api = cluster.b().api();
    for text in ODD {
        let wanted = without_spaces(text);
        let batch = format!("[{},[],{}]", body("user:7", text, ""), body("user:7", text, ""));
        let posts = [body("user:7", text, ""), batch, body("user:7", text, r#","ephemeral":true"#)];
        for post in &posts {
            let answer = api.call("POST", "/v1/publish", &[JSON], post.as_str()).await.unwrap();
            assert_eq!(answer.status, 200, "{text}: {}", answer.text);
        }
        let direct = format!(r#"{{"data":{text}}}"#);
        cluster.redis.cli(&["PUBLISH", &ephemeral_topic("user:7"), &direct]).await;
        cluster.redis.cli(&["FCALL", "fanfare_publish", "1", &log_key("user:7"), "", &wanted]).await;
        cluster.redis.cli(&["XADD", "fanfare:ingest", "*", "channel", "user:7", "data", &wanted]).await;
        for _ in 0..7 {
            assert_eq!(&*raw.next().await.data, wanted);
            assert_eq!(enveloped.next().await.json()["data"], json!(wanted));
        }
    }
    let history = api.get("/v1/channels/user:7/events?limit=1000").await.json();
    let stored: Vec<_> =
        history["events"].as_array().unwrap().iter().map(|event| event["data"].clone()).collect();
    assert_eq!(stored.len(), 5 * ODD.len());
    assert!(
        stored.chunks(5).zip(ODD).all(|(five, text)| five.iter().all(|data| *data == without_spaces(text)))
    );
}

#[tokio::test]
async fn an_array_is_not_taken_for_an_object_by_the_places_of_its_items() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("7").open().await;
    let api = cluster.a().api();
    let by_place = r#"[["user:7","note","by place, not by name",null,false]]"#;
    let answer = api.call("POST", "/v1/publish", &[JSON], by_place).await.unwrap();
    let error = &answer.json()[0]["error"];
    assert_eq!((answer.status, &error["status"]), (200, &json!(400)));
    assert!(error["detail"].as_str().unwrap().contains("expected an object with channel"), "{error}");
    cluster.redis.cli(&["PUBLISH", &ephemeral_topic("user:7"), r#" ["note","by place"]"#]).await;
    api.publish("user:7", "note", "by name").await;
    assert_eq!(&*client.next().await.data, "by name");
}

#[tokio::test]
async fn data_of_any_shape_costs_a_few_times_its_size() {
    let cluster = Cluster::pair().await;
    let node = cluster.a();
    // A tree of this has 150 bytes for each byte of text.
    let nested = |bytes: usize| {
        format!("[{}]", vec![format!("{}{}", "[".repeat(100), "]".repeat(100)); bytes / 201].join(","))
    };
    let post = body("a", &nested(2_000_000), "");
    node.forget_peak();
    let before = node.memory();
    let answer = node.api().call("POST", "/v1/publish", &[JSON], post).await.unwrap();
    answer.is_problem(413, "too-large", &["the data has"]).unwrap();
    let deep = body("a", &format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000)), "");
    let answer = node.api().call("POST", "/v1/publish", &[JSON], deep).await.unwrap();
    answer.is_problem(400, "bad-event", &["128 levels"]).unwrap();
    let many = format!("[{}]", vec!["0"; 1_000_000].join(","));
    let answer = node.api().call("POST", "/v1/publish", &[JSON], many).await.unwrap();
    answer.is_problem(413, "too-large", &["1000000 events"]).unwrap();
    let _follower = node.stream().channel("x").open().await;
    let live = format!(r#"{{"data":{}}}"#, nested(2_000_000));
    assert_eq!(cluster.redis.get::<u64>(&["PUBLISH", &ephemeral_topic("x"), &live]).await, 1);
    node.api().publish("a", "note", "the node goes on").await;
    let took = node.peak_memory().saturating_sub(before);
    assert!(took < 30_000_000, "{took} bytes for bodies of 2 MB");
}
