//! `/metrics`, as Prometheus's own tool reads it.

use std::process::Stdio;

use fanfare_testkit::deadline::{SOON, eventually, until};
use fanfare_testkit::metrics::Metrics;
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

/// Waits until a sum of metrics of a node is this.
async fn counts(node: &Node, name: &str, labels: &[&str], expected: f64) {
    until(name, SOON, async || {
        let counted = node.metrics().await.sum(name, labels);
        if (counted - expected).abs() < f64::EPSILON { Ok(()) } else { Err(format!("{counted} {labels:?}")) }
    })
    .await;
}

fn has(metrics: &Metrics, name: &str, labels: &[&str]) {
    assert!(metrics.sum(name, labels) > 0.0, "{name} {labels:?} counts nothing");
}

#[tokio::test]
async fn a_connection_is_counted_from_its_request_to_its_end() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let (attempts, outcome) = ("sse_connect_attempts_total", |outcome| format!("outcome=\"{outcome}\""));
    let mut stream = node.stream().user("7").channel("room:1").open().await;
    counts(&node, attempts, &[&outcome("opened")], 1.0).await;
    counts(&node, "sse_connect_seconds_count", &[], 1.0).await;
    counts(&node, "sse_connections_catching_up", &[], 0.0).await;
    node.stream().after("?").send().await.answer().await;
    counts(&node, attempts, &[&outcome("invalid")], 1.0).await;
    node.api().call("HEAD", "/v1/events?channel=room:1", &[], "").await.unwrap();
    counts(&node, attempts, &[], 2.0).await;
    stream.close();
    let closed = ["reason=\"closed\""];
    counts(&node, "sse_connection_duration_seconds_count", &closed, 1.0).await;
    counts(&node, "sse_connection_duration_seconds_count", &[], 1.0).await;
}

#[tokio::test]
async fn a_stream_that_is_refused_is_counted_by_who_has_to_act() {
    let redis = Redis::start().await;
    let attempts = |outcome| format!("outcome=\"{outcome}\"");
    let open = Node::of(&redis).set("LIMITS__CONNECTIONS", "1");
    let open = open.start().await;
    let _stream = open.stream().user("7").open().await;
    open.stream().user("8").send().await.answer().await;
    counts(&open, "sse_connect_attempts_total", &[&attempts("refused")], 1.0).await;
    let closed = Node::of(&redis).id("b").auth("jwt").start().await;
    closed.stream().send().await.answer().await;
    counts(&closed, "sse_connect_attempts_total", &[&attempts("unauthorized")], 1.0).await;
    counts(&closed, "sse_connect_attempts_total", &[], 1.0).await;
}

#[tokio::test]
async fn events_are_timed_by_the_way_they_take_and_bytes_are_counted() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let latency = "sse_event_latency_seconds_count";
    let mut live = node.stream().user("7").channel("room:1").open().await;
    let before = node.metrics().await.sum("sse_sent_bytes_total", &[]);
    let text = "x".repeat(5000);
    node.api().publish("room:1", "note", &format!("\"{text}\"")).await;
    live.next().await;
    counts(&node, latency, &["path=\"live\""], 1.0).await;
    counts(&node, latency, &["path=\"catch-up\""], 0.0).await;
    let sent = node.metrics().await.sum("sse_sent_bytes_total", &[]) - before;
    assert!((5000.0..6000.0).contains(&sent), "{sent}");
    let mut late = node.stream().user("8").channel("room:1").after("0-0").open().await;
    late.next().await;
    counts(&node, latency, &["path=\"catch-up\""], 1.0).await;
    counts(&node, latency, &["path=\"live\""], 1.0).await;
}

#[tokio::test]
async fn a_client_that_falls_behind_is_counted_until_it_has_caught_up() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("STREAM__QUEUE", "4KiB").start().await;
    let request = node.stream().user("7").channel("room:1").receive_buffer(4096);
    let mut slow = request.open().await;
    let text = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..200 {
        node.api().publish("room:1", "note", &text).await;
    }
    counts(&node, "sse_connections_catching_up", &[], 1.0).await;
    for _ in 0..200 {
        slow.next().await;
    }
    counts(&node, "sse_connections_catching_up", &[], 0.0).await;
}

#[tokio::test]
async fn redis_is_measured_on_its_connections_and_a_healthy_one_has_no_errors() {
    let mut redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let _stream = node.stream().user("7").channel("room:1").open().await;
    node.api().get("/v1/channels/room:1/events").await;
    let metrics = node.metrics().await;
    for connection in ["commands", "reads"].map(|name| format!("connection=\"{name}\"")) {
        has(&metrics, "fanfare_redis_latency_seconds_count", &[&connection]);
    }
    for connection in ["commands", "reads", "blocking", "subscriber"] {
        has(&metrics, "fanfare_redis_connections_total", &[&format!("connection=\"{connection}\"")]);
    }
    has(&metrics, "fanfare_redis_pool_size", &[]);
    for quiet in ["fanfare_redis_command_errors_total", "fanfare_redis_connect_failures_total"] {
        assert!(metrics.has(quiet) && metrics.sum(quiet, &[]) == 0.0, "{quiet}");
    }
    redis.stop().await;
    until("the loss of Redis is counted", SOON, async || {
        let metrics = node.metrics().await;
        let failed = metrics.sum("fanfare_redis_connect_failures_total", &["connection=\"subscriber\""]);
        let unanswered = metrics.sum("fanfare_redis_command_errors_total", &["kind=\"no-reply\""]);
        if failed > 0.0 && unanswered > 0.0 { Ok(()) } else { Err(format!("{failed} {unanswered}")) }
    })
    .await;
}

#[tokio::test]
async fn events_are_counted_by_the_patterns_of_retention_if_that_is_asked_for() {
    const NAMES: [&str; 3] = ["sse_events_sent_total", "sse_gaps_total", "sse_event_latency_seconds_count"];
    for is_on in [true, false] {
        let node = Node::alone().set("RETENTION__RULES", "room:*, order:1 age=5m");
        let node = node.set("METRICS__NAMESPACES", &is_on.to_string()).start().await;
        let channels = ["room:1", "room:2", "order:1", "order:2"];
        let mut stream = node.stream().channels(&channels).open().await;
        // Turns between namespaces, live and from the log.
        let sent = ["room:1", "order:1", "room:2", "order:2", "room:1", "room:1"];
        for channel in sent {
            node.api().publish(channel, "t", "x").await;
            stream.next().await;
        }
        node.stream().channel("room:1").after("earliest").open().await.expect("t").await;
        let label = |namespace: &str| format!("channel_namespace=\"{namespace}\"");
        if is_on {
            // The second stream gets the three events of room:1 again.
            for (namespace, events) in [("room:*", 7.0), ("order:1", 1.0), ("other", 1.0)] {
                counts(&node, NAMES[0], &[&label(namespace)], events).await;
            }
            // An event that comes before its channel is subscribed is read from the log.
            eventually("the last event is timed as live", async || {
                let live = [&*label("room:*"), "path=\"live\""];
                node.metrics().await.sum(NAMES[2], &live) >= 1.0
            })
            .await;
            assert!(node.metrics().await.sum(NAMES[2], &[&label("room:*"), "path=\"catch-up\""]) >= 1.0);
        } else {
            counts(&node, NAMES[0], &[], 9.0).await;
        }
        let text = node.api().get("/metrics").await.text;
        check(&text).await;
        let series = text.lines().filter(|line| NAMES.iter().any(|name| line.starts_with(name)));
        let labelled = series.clone().filter(|line| line.contains("channel_namespace=")).count();
        // Three namespaces; latencies by two paths.
        assert_eq!((series.count(), labelled), if is_on { (12, 12) } else { (4, 0) }, "{text}");
        assert!(!text.contains("room:1"), "{text}");
    }
}
