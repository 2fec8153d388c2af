//! The log of connections: one line for each that ended, with the fields that the documentation lists.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::http2::Http2;
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};
use uuid::Uuid;

const TARGET: &str = "fanfare::connection";
/// Members of every line of the log.
const COMMON: [&str; 4] = ["timestamp", "level", "target", "message"];

fn lines(node: &Node) -> Vec<Value> {
    let lines = node.log();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == TARGET).collect()
}

/// Waits for this number of lines.
async fn ended(node: &Node, count: usize) -> Vec<Value> {
    eventually("every connection has its line", async || lines(node).len() >= count).await;
    lines(node)
}

/// The names in the table of `docs/operations.md`.
fn documented() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, section) = page.split_once("\n## Connection log\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

fn members(line: &Value) -> BTreeSet<String> {
    let members = line.as_object().expect("an object").keys();
    members.filter(|name| !COMMON.contains(&name.as_str())).cloned().collect()
}

#[tokio::test]
async fn a_client_is_found_on_all_nodes_by_its_session_and_its_lines_have_no_secrets() {
    let configure = |node: fanfare_testkit::node::NodeBuilder| node.auth("jwt").set("LOG__FORMAT", "json");
    let mut cluster = Cluster::on(Redis::start().await, 2, configure).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let token = Token::of("42").subscribe(&["room:secret"]).sign();
    let http2 = Http2::clear();
    let session = Uuid::new_v4().to_string();
    let request = cluster.a().stream().token(&token).session(&session).channel("room:secret");
    let mut client = request.http2(&http2).open().await;
    publisher.publish_all("room:secret", "t", &["1", "2"]).await;
    client.expect_data("1").await;
    client.expect_data("2").await;
    cluster.nodes[0].terminate();
    client.expect("shutdown").await;
    client.resume(cluster.b()).await;
    publisher.publish("room:secret", "t", "payload").await;
    client.expect_data("payload").await;
    client.close();

    let (a, b) = (ended(cluster.a(), 1).await, ended(cluster.b(), 1).await);
    let (a, b) = (&a[0], &b[0]);
    for (line, node, reason, events, resumed) in [(a, "a", "shutdown", 2, false), (b, "b", "closed", 1, true)]
    {
        let wanted = json!([node, session, "42", reason, events, resumed, "HTTP/2", false]);
        let names = ["node", "session", "user", "reason", "events", "resumed", "protocol", "gzip"];
        let found: Vec<&Value> = names.iter().map(|name| &line[name]).collect();
        assert_eq!(json!(found), wanted, "{line}");
        assert!(line["bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{line}");
        assert!(line["duration_ms"].is_u64() && line["channels"].as_u64() >= Some(1), "{line}");
        let all = line.to_string();
        assert!(!all.contains(&token) && !all.contains("payload") && !all.contains("secret"), "{all}");
    }
    assert!(cluster.nodes[0].ended(Duration::from_secs(20)).await.success());
    assert_eq!((lines(cluster.a()).len(), lines(cluster.b()).len()), (1, 1));
}

#[tokio::test]
async fn a_storm_has_a_minutes_lines_and_a_later_line_counts_the_others_by_the_documented_names() {
    let node = Node::alone().set("LOG__FORMAT", "json").set("LOG__CONNECTIONS", "1").start().await;
    let most = 60;
    for user in 0..most + 10 {
        node.stream().user(&user.to_string()).open().await;
    }
    eventually("some have no line", async || {
        node.metrics().await.sum("fanfare_connection_lines_held_back_total", &[]) >= 1.0
    })
    .await;
    let mut found = BTreeSet::new();
    eventually("a line counts those without one", async || {
        node.stream().user("7").open().await;
        found = lines(&node).iter().flat_map(members).collect();
        found.contains("held_back")
    })
    .await;
    assert_eq!(found, documented());
}

#[tokio::test]
async fn a_node_whose_log_of_connections_is_off_writes_no_line() {
    for (name, value) in [("LOG__CONNECTIONS", "0"), ("LOG__LEVEL", "info,fanfare::connection=off")] {
        let mut node = Node::alone().set("LOG__FORMAT", "json").set(name, value).start().await;
        let mut client = node.stream().user("7").open().await;
        node.terminate();
        client.expect("shutdown").await;
        client.close();
        assert!(node.ended(Duration::from_secs(20)).await.success());
        assert!(node.log().contains("shutdown complete"), "{}", node.log());
        assert_eq!(lines(&node), Vec::<Value>::new());
    }
}
