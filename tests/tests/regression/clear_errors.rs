//! Errors that sent people the wrong way: each says what was wrong, where, and what to do.

use std::process::{Command, Output};

use fanfare_testkit::binary;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

const JSON: (&str, &str) = ("content-type", "application/json");

fn fanfare(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(binary::path()).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn a_byte_order_mark_is_named_in_bodies() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let post = async |body: &[u8]| node.api().call("POST", "/v1/publish", &[JSON], body).await.unwrap();
    let utf8 = post(b"\xef\xbb\xbf{\"channel\":\"a\",\"data\":1}").await;
    utf8.is_problem(400, "bad-json", &["byte order mark"]).unwrap();
    post(b"\xff\xfe{\0").await.is_problem(400, "bad-json", &["UTF-16"]).unwrap();
    post(b"{\"channel\":\"a\",\"data\":\"\xff\"}")
        .await
        .is_problem(400, "bad-json", &["not UTF-8 at byte 23"])
        .unwrap();
}

#[test]
fn a_byte_order_mark_is_named_in_a_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fanfare.toml");
    std::fs::write(&file, "\u{feff}[node]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let (code, said) = fanfare(&["serve", "--auth", "none", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("byte order mark"), "{said}");
    std::fs::write(&file, "\u{feff}0123456789abcdef0123456789abcdef\n").unwrap();
    let secret =
        ["serve", "--listen", "127.0.0.1:0", "--auth", "jwt", "--jwt-secret-file", file.to_str().unwrap()];
    let (code, said) = fanfare(&secret);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("auth.jwt.secret_file") && said.contains("byte order mark"), "{said}");
}

#[test]
fn a_redis_url_that_is_none_is_a_fault_of_the_settings() {
    for (url, wrong) in [
        ("redis://127.0.0.1:1/zero", "not the number of a database"),
        ("redis://127.0.0.1:port", "the port is not a number from 1 to 65535"),
        ("redis://127.0.0.1:99999", "the port is not a number from 1 to 65535"),
        ("redis-cluster://127.0.0.1", "Redis Cluster"),
        ("redis://", "no host"),
        ("http://127.0.0.1", "its scheme is another one"),
        ("redis://:s3cret@:1:2", "port"),
        // Each of them was ignored, and the node used database 0.
        ("redis://127.0.0.1?database=1", "unknown query parameter 'database'"),
        ("redis://127.0.0.1?DB=1", "unknown query parameter 'DB'"),
        ("redis://127.0.0.1#1", "fragment"),
    ] {
        let (code, said) = fanfare(&["serve", "--listen", "127.0.0.1:0", "--auth", "none", "--redis", url]);
        assert_eq!(code, Some(2), "{url}: {said}");
        assert!(said.contains("redis.url") && said.contains("expected: redis://"), "{url}: {said}");
        assert!(said.contains(wrong), "{url}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

/// Twice a `redis.timeout` of more than 12 days is no `TCP_USER_TIMEOUT`: the node never connected.
#[tokio::test]
async fn a_node_works_with_the_greatest_value_of_every_duration() {
    let redis = Redis::start().await;
    let mut node = Node::of(&redis);
    for setting in fanfare_config::settings() {
        let Some((_, most)) = setting.range else { continue };
        if most.ends_with(['s', 'm', 'h', 'd']) {
            node = node.set(setting.variable().trim_start_matches("FANFARE_"), most);
        }
    }
    let node = node.start().await;
    let mut client = node.stream().user("42").channel("a").open().await;
    node.api().publish("a", "t", "x").await;
    client.expect_data("x").await;
}

#[tokio::test]
async fn the_byte_of_a_bad_user_id_is_counted_within_it() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let answer = node.api().get("/v1/events?user=a%20b").await;
    answer.is_problem(400, "bad-request", &["user id has ' ' at byte 1"]).unwrap();
    let answer = node.api().get("/v1/users/a%20b/sessions").await;
    answer.is_problem(400, "bad-request", &["user id has ' ' at byte 1"]).unwrap();
}
