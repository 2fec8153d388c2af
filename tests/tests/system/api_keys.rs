//! API keys of services, on real nodes.

use fanfare_testkit::binary;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::json;

/// A new key, and its entry for `auth.keys` with further members.
fn key(name: &str, members: &str) -> (String, String) {
    let made = binary::command().args(["key", "--name", name]).output().expect("the binary can be run");
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).expect("text");
    let key = text.lines().next().expect("a line").to_owned();
    let hash = text.split_once("sha256 = \"").and_then(|(_, rest)| rest.split('"').next()).expect("a hash");
    assert!(key.starts_with("ffk_") && key.len() == 47, "{text}");
    (key, format!("{{ name = \"{name}\", sha256 = \"{hash}\", {members} }}"))
}

fn event(channel: &str, data: &str) -> serde_json::Value {
    json!({"channel": channel, "data": data})
}

#[tokio::test]
async fn several_keys_of_a_service_publish_within_their_grants_rate_and_size() {
    let redis = Redis::start().await;
    let grants = "publish = [\"order:*\"], event_data = \"10B\"";
    let (old, first) = key("orders", grants);
    let (new, second) = key("orders", grants);
    let (slow, third) = key("slow", "publish = [\"order:*\"], events_per_second = 2");
    let keys = format!("[{first}, {second}, {third}]");
    let node = Node::of(&redis).auth("jwt").set("AUTH__KEYS", &keys).start().await;
    let token = Token::of("7").subscribe(&["order:*"]).sign();
    let mut client = node.stream().token(&token).channel("order:1").open().await;
    for key in [&old, &new] {
        let api = node.api().with_token(key);
        assert_eq!(api.post(&event("order:1", "paid")).await.expect("an answer").status, 200);
        client.expect_data("paid").await;
        let refused = api.post(&event("user:7", "paid")).await.expect("an answer");
        refused.is_problem(403, "no-grant", &["user:7"]).unwrap_or_else(|e| panic!("{e}"));
        let large = api.post(&event("order:1", "more than ten")).await.expect("an answer");
        large.is_problem(413, "too-large", &["10"]).unwrap_or_else(|e| panic!("{e}"));
    }
    let batch = |events: usize| serde_json::Value::from(vec![event("order:1", "x"); events]);
    let api = node.api().with_token(&slow);
    assert_eq!(api.post(&batch(2)).await.expect("an answer").status, 200);
    let limited = api.post(&batch(2)).await.expect("an answer");
    limited.is_problem(429, "rate-limited", &["auth.keys"]).unwrap_or_else(|e| panic!("{e}"));
    // Another service is not concerned.
    assert_eq!(node.api().with_token(&new).post(&batch(5)).await.expect("an answer").status, 200);
    // A key that is not in the settings any more is refused.
    let after = Node::of(&redis).id("b").auth("jwt").set("AUTH__KEYS", &format!("[{second}]")).start().await;
    let refused = after.api().with_token(&old).post(&event("order:1", "x")).await.expect("an answer");
    refused.is_problem(401, "bad-token", &["auth.keys"]).unwrap_or_else(|e| panic!("{e}"));
    let mut command = binary::command();
    command
        .args(["publish", "order:1", "x", "--server", &format!("http://{}", after.address())])
        .env("FANFARE_TOKEN", &old);
    let shown = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&shown.stderr);
    assert_eq!(shown.status.code(), Some(1), "{text}");
    assert!(text.contains("auth.keys") && !text.contains(&old[4..]), "{text}");
    assert_eq!(
        after.api().with_token(&new).post(&event("order:1", "x")).await.expect("an answer").status,
        200
    );
    for secret in [&old, &new, &slow] {
        assert!(
            !node.log().contains(&secret[4..]) && !after.log().contains(&secret[4..]),
            "a key in the log"
        );
    }
}

#[tokio::test]
async fn a_node_may_have_keys_only_and_the_same_key_twice_is_an_error() {
    let redis = Redis::start().await;
    let (ops, entry) = key("ops", "admin = [\"look\"]");
    let mut command = binary::command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--auth", "jwt"]);
    let twice = command.env("FANFARE_AUTH__KEYS", format!("[{entry}, {entry}]")).output().expect("it runs");
    let said = String::from_utf8(twice.stderr).expect("text");
    assert!(twice.status.code() == Some(2) && said.contains("two entries have the same sha256"), "{said}");
    let node = Node::of(&redis).auth("jwt").set("AUTH__KEYS", &format!("[{entry}]")).start().await;
    assert_eq!(node.api().with_token(&ops).get("/v1/nodes").await.status, 200);
    let delete = node.api().with_token(&ops).delete("/v1/users/7/sessions").await;
    delete.is_problem(403, "no-grant", &["disconnect"]).unwrap_or_else(|e| panic!("{e}"));
}
