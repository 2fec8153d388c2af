//! The header `Idempotency-Key` was ignored without a word, so clients that rely on it stored events twice.

use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

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
