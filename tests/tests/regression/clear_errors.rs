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
    for url in [
        "redis://127.0.0.1:1/zero",
        "redis://127.0.0.1:port",
        "redis://",
        "http://127.0.0.1",
        "redis://:s3cret@:1:2",
    ] {
        let (code, said) = fanfare(&["serve", "--listen", "127.0.0.1:0", "--auth", "none", "--redis", url]);
        assert_eq!(code, Some(2), "{url}: {said}");
        assert!(said.contains("redis.url") && said.contains("expected: redis://"), "{url}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
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
