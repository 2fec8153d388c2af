//! Two clusters on one Redis never share a name: no other database than 0, and no two prefixes that could be confused.

use std::process::{Command, Output};

use fanfare_testkit::binary;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

/// Runs `serve` with settings that must be refused, and returns what it says.
fn refused(url: &str, prefix: &str) -> String {
    let output = Command::new(binary::path())
        .args(["serve", "--listen", "127.0.0.1:0", "--auth", "none", "--redis", url])
        .env("FANFARE_REDIS__PREFIX", prefix)
        .output();
    let Output { status, stdout, stderr } = output.expect("the binary can be run");
    let error = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(2), "{url} {prefix}: {error}");
    assert!(stdout.is_empty(), "{url} {prefix}: it does not listen");
    error
}

#[tokio::test]
async fn another_database_is_refused_with_the_way_out_since_pub_sub_knows_none() {
    let redis = Redis::start().await;
    let url = redis.url();
    for (url, database) in [
        (format!("{url}/1"), "1"),
        (format!("{url}?db=2"), "2"),
        (format!("{}/3", url.replace("redis://", "rediss://ann:hunter2@")), "3"),
        ("unix:///run/redis.sock?db=4".into(), "4"),
    ] {
        let error = refused(&url, "fanfare");
        assert!(error.contains(&format!("database {database}")) && error.contains("redis.prefix"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    Node::of(&redis).through(&format!("{url}/0")).start().await;
}

#[test]
fn a_prefix_that_could_be_confused_with_another_one_is_refused() {
    for (prefix, word) in [
        ("a:node", "node"),
        ("a:ingest", "ingest"),
        ("a:probe:b", "probe"),
        ("a:", "byte 1"),
        ("a*", "byte 1"),
        ("{a}", "byte 0"),
        ("a__b", "byte 2"),
        // Names of Redis functions ignore case, so the second of the clusters `app` and `App` had no function.
        ("App", "lower case"),
        ("app:X", "lower case"),
        ("", "bytes"),
    ] {
        // An empty variable counts as not set.
        if !prefix.is_empty() {
            let error = refused("redis://127.0.0.1:1", prefix);
            assert!(error.contains("redis.prefix") && error.contains(word), "{prefix}: {error}");
        }
    }
}

#[tokio::test]
async fn clusters_with_much_alike_prefixes_on_one_redis_hear_nothing_of_each_other() {
    const PREFIXES: [&str; 6] = ["app", "app:x", "app_x", "app-x", "app.x", "app:nodes"];
    let redis = Redis::start().await;
    let mut nodes = Vec::new();
    for prefix in PREFIXES {
        // A node named like a key of another cluster.
        nodes.push(Node::of(&redis).id("nodes").set("REDIS__PREFIX", prefix).short_lease().start().await);
    }
    let libraries = redis.cli(&["FUNCTION", "LIST"]).await;
    assert_eq!(libraries.matches("library_name").count(), PREFIXES.len(), "{libraries}");
    let session = uuid::Uuid::new_v4().to_string();
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(node.stream().user("7").session(&session).open().await);
    }
    let functions = ["app", "app_x", "app__x", "app___x", "app____x", "app_nodes"];
    for ((prefix, function), node) in PREFIXES.iter().zip(functions).zip(&nodes) {
        let log = format!("{prefix}:{{user:7}}:log");
        redis.get::<(String, u8)>(&["FCALL", &format!("{function}_publish"), "1", &log, "t", prefix]).await;
        node.api().publish("user:7", "t", &format!("{prefix} by HTTP")).await;
        let topic = format!("{prefix}:{{user:7}}:ephemeral");
        let text = serde_json::json!({"type": "t", "data": format!("{prefix} in passing")}).to_string();
        assert_eq!(redis.get::<u32>(&["PUBLISH", &topic, &text]).await, 1, "one cluster hears it");
        let listed = node.api().get("/v1/nodes").await.json();
        assert_eq!(listed["nodes"].as_array().map(Vec::len), Some(1), "{listed}");
    }
    for (client, prefix) in clients.iter_mut().zip(PREFIXES) {
        // Nothing else comes before them.
        client.expect_data(prefix).await;
        client.expect_data(&format!("{prefix} by HTTP")).await;
    }
    // One cluster leaves, the others keep their sessions.
    let last = nodes.pop().expect("there are six");
    drop(last);
    for prefix in &PREFIXES[..5] {
        let key = format!("{prefix}:{{user:7}}:sessions");
        until("the session stays", SOON, async || match redis.get::<u32>(&["HLEN", &key]).await {
            1 => Ok(()),
            other => Err(other),
        })
        .await;
    }
}
