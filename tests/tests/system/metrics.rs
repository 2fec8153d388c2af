//! `/metrics`, as Prometheus's own tool reads it.

use std::process::Stdio;

use fanfare_testkit::deadline::SOON;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Runs `promtool check metrics`, which reads the Prometheus text format and warns of what is unusual.
async fn check(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs: it is in the package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = timeout(SOON, promtool.wait_with_output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn promtool_has_nothing_to_say_of_a_node_that_has_worked() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut stream = node.stream().user("7").channel("room:1").open().await;
    node.api().publish("room:1", "note", "\"1\"").await;
    stream.next().await;
    for path in ["/v1/nothing", "/v1/channels/room:1/events", "/v1/nodes", "/v1/channels/%20/events"] {
        node.api().get(path).await;
    }
    let answer = node.api().get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    check(&answer.text).await;
    for used in [
        "sse_active_connections 1",
        "fanfare_http_problems_total{code=",
        "fanfare_build_info{version=",
        "process_resident_memory_bytes ",
    ] {
        assert!(answer.text.contains(used), "{used} is missing in {}", answer.text);
    }
}
