//! The header `Idempotency-Key` was ignored without a word, so clients that rely on it stored events twice. Later, the first
//! event of a batch with the key `k` was dropped as a repeat if another event had the key `k#0`.

use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn the_header_idempotency_key_is_the_key_of_an_event() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let post = async |key: &str, body: &str| {
        node.api().call("POST", "/v1/publish", &[JSON, ("idempotency-key", key)], body).await.unwrap()
    };
    let one = r#"{"channel":"a","data":"x"}"#;
    let first = post(r#""order-7""#, one).await.json();
    assert_eq!(first["repeat"], false);
    // Without quotes, and as a field.
    for again in
        [post("order-7", one).await, post("order-7", r#"{"channel":"a","data":"x","key":"order-7"}"#).await]
    {
        assert_eq!((&again.json()["id"], &again.json()["repeat"]), (&first["id"], &true.into()));
    }
    let other = post("order-7", r#"{"channel":"a","data":"x","key":"order-8"}"#).await;
    other.is_problem(400, "bad-request", &["idempotency-key", "differ"]).unwrap();
    post("a b", one).await.is_problem(400, "bad-request", &["idempotency-key"]).unwrap();

    let batch = r#"[{"channel":"a","data":"y"},{"channel":"a","data":"z"}]"#;
    let repeats = async || {
        let answers = post("batch-1", batch).await.json();
        answers.as_array().unwrap().iter().map(|answer| answer["repeat"] == true).collect::<Vec<_>>()
    };
    assert_eq!((repeats().await, repeats().await), (vec![false, false], vec![true, true]));
    assert_eq!(redis.stream("fanfare:{a}:log").await.len(), 3);
}

#[tokio::test]
async fn a_key_of_a_batch_never_equals_the_own_key_of_another_event() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let longest = "k".repeat(128);
    let item = |data: &str, key: Option<&str>| json!({"channel": "a", "data": data, "key": key});
    for key in ["k", "k#0", "batch:7", &*longest] {
        // The forms in which a publisher may have numbered its own events, and the one that the node uses.
        let own =
            ["#", ":", "-", ".", "/", " ", "", "\u{1f}", "\0"].map(|separator| format!("{key}{separator}0"));
        for own in &own {
            let status = node.api().post(&item("own", Some(own))).await.unwrap().status;
            let is_allowed = own.len() <= longest.len() && !own.contains(char::is_control);
            assert_eq!(status, if is_allowed { 200 } else { 400 }, "{own:?}");
        }
        let batch = json!([item("first", None), item("second", None)]).to_string();
        let post = async || {
            let headers = [JSON, ("idempotency-key", key)];
            let answers =
                node.api().call("POST", "/v1/publish", &headers, batch.clone()).await.unwrap().json();
            [0, 1]
                .map(|index| answers[index]["repeat"].as_bool().unwrap_or_else(|| panic!("{key}: {answers}")))
        };
        assert_eq!(post().await, [false, false], "{key}");
        assert_eq!(post().await, [true, true], "{key}");
    }
    // The longest key, the separator, and an index.
    let start = "fanfare:{a}:once:".len();
    let lengths = redis.keys("fanfare:{a}:once:*").await.into_iter().map(|key| key.len() - start);
    assert_eq!(lengths.max(), Some(longest.len() + 2));
}
