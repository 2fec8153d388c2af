//! Traces: a publisher's sampled context, by every way in, has a span where it is published and one on each node with streams.

use std::process::Stdio;

use fanfare_testkit::binary;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::collector::{Collector, Spanned};
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::{ephemeral_topic, log_key};
use fanfare_testkit::redis::Redis;
use serde_json::{Value, json};

const ROOM: &str = "room:7";
const HALL: &str = "hall:7";
/// The span of the publisher.
const SPAN: &str = "00f067aa0ba902b7";
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

fn trace(number: u8) -> String {
    format!("{:032x}", 0x4bf9_2f35_u128 << 64 | u128::from(number))
}

fn context(number: u8) -> String {
    format!("00-{}-{SPAN}-01", trace(number))
}

async fn post(node: &Node, headers: &[(&str, &str)], body: Value) {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = node.api().call("POST", "/v1/publish", &headers, body.to_string()).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Publishes with the command line, which has the context in a flag or in the environment.
fn command(node: &Node, flag: Option<&str>, variable: Option<&str>) {
    let mut command = binary::command();
    let server = format!("http://{}", node.address());
    command.args(["publish", ROOM, "cli", "--server", &server]).stdout(Stdio::null());
    command.args(flag.map(|flag| format!("--traceparent={flag}")));
    command.envs(variable.map(|variable| ("TRACEPARENT", variable)));
    assert!(command.status().expect("the binary can be run").success());
}

/// Every way in: the number of the trace, and whether a node publishes.
const WAYS: [(u8, bool); 10] = [
    (1, true),
    (2, true),
    (3, true),
    (4, true),
    (5, true),
    (6, false),
    (7, true),
    (8, false),
    (9, true),
    (10, true),
];

async fn publish_by_every_way(cluster: &Cluster) {
    let (b, redis) = (cluster.b(), &cluster.redis);
    post(b, &[("traceparent", &context(1))], json!({"channel": ROOM, "data": "header"})).await;
    post(b, &[], json!({"channel": ROOM, "data": "member", "traceparent": context(2)})).await;
    // The member goes first.
    let batch = json!([
        {"channel": ROOM, "data": "batch", "traceparent": context(3)},
        {"channel": ROOM, "data": "of the header"},
        {"channel": HALL, "data": "of the header, too"},
    ]);
    post(b, &[("traceparent", &context(4))], batch).await;
    let both = json!({"channels": [ROOM, HALL], "data": "channels", "traceparent": context(5)});
    post(b, &[], both).await;
    let call = ["FCALL", "fanfare_publish", "1", &log_key(ROOM), "t", "call", "", "", &context(6)];
    redis.get::<(String, u8)>(&call).await;
    let entry = ["channel", ROOM, "data", "intake", "traceparent", &context(7)];
    redis.get::<String>(&[&["XADD", "fanfare:ingest", "*"][..], &entry].concat()).await;
    let event = json!({"data": "ephemeral", "traceparent": context(8)}).to_string();
    redis.get::<u64>(&["PUBLISH", &ephemeral_topic(ROOM), &event]).await;
    command(b, Some(&context(9)), None);
    command(b, None, Some(&context(10)));
}

/// Publishes what has no span.
async fn publish_without_spans(cluster: &Cluster) {
    let b = cluster.b();
    post(b, &[], json!({"channel": ROOM, "data": "none"})).await;
    let unsampled = context(20).replace("-01", "-00");
    post(b, &[("traceparent", &unsampled)], json!({"channel": ROOM, "data": "unsampled"})).await;
    post(b, &[("traceparent", "00-malformed")], json!({"channel": ROOM, "data": "malformed"})).await;
    let two = [("traceparent", &*context(21)), ("traceparent", &*context(22))];
    post(b, &two, json!({"channel": ROOM, "data": "two"})).await;
    post(b, &[], json!({"channel": ROOM, "data": "malformed", "traceparent": "x"})).await;
    command(b, Some("malformed"), None);
}

fn of(spans: &[Spanned], number: u8, name: &str) -> Vec<Spanned> {
    let trace = trace(number);
    spans.iter().filter(|span| span.trace == trace && span.name == name).cloned().collect()
}

/// Checks the spans of one event in one channel, with two streams on node a and one on node b.
fn check(spans: &[Spanned], number: u8, is_published_by_node: bool, channel: &str) {
    let published = of(spans, number, "publish");
    assert_eq!(published.len(), usize::from(is_published_by_node), "{number}: {published:?}");
    let cause = match &published[..] {
        [span] => {
            let way = span.attribute("fanfare.way");
            assert_eq!((&*span.parent, span.kind, span.status), (SPAN, PRODUCER, 0), "{number}");
            assert!(way == Some(if number == 7 { "intake" } else { "http" }), "{number}: {way:?}");
            &*span.span
        }
        _ => SPAN,
    };
    let mut fan_outs = of(spans, number, "fan-out");
    fan_outs.retain(|span| span.attribute("messaging.destination.name") == Some(channel));
    fan_outs.sort_by(|a, b| a.node.cmp(&b.node));
    let nodes: Vec<_> =
        fan_outs.iter().map(|span| (&*span.node, span.attribute("fanfare.streams"))).collect();
    assert_eq!(nodes, [("a", Some("2")), ("b", Some("1"))], "{number} {channel}");
    for span in fan_outs {
        assert_eq!((&*span.parent, &span.links[..], span.kind), (cause, &[cause.to_owned()][..], CONSUMER));
        assert_eq!(span.attribute("messaging.message.id").is_some(), number != 8, "{span:?}");
        assert!(span.attribute("messaging.system") == Some("fanfare"), "{span:?}");
    }
}

async fn traced(collector: &Collector) -> Cluster {
    let endpoint = collector.url();
    Cluster::on(Redis::start().await, 2, |node| {
        node.set("TRACE__ENDPOINT", &endpoint).set("TRACE__INTERVAL", "20ms").set("STREAM__SHARDS", "2")
    })
    .await
}

#[tokio::test]
async fn a_sampled_context_has_a_span_of_publishing_and_one_on_each_node_by_every_way_in() {
    let collector = Collector::start().await;
    let cluster = traced(&collector).await;
    let mut clients = Vec::new();
    for node in [cluster.a(), cluster.a(), cluster.b()] {
        clients.push(node.stream().channel(ROOM).channel(HALL).open().await);
    }
    publish_without_spans(&cluster).await;
    publish_by_every_way(&cluster).await;
    // Each on two nodes; two traces have events in two channels.
    let wanted = WAYS.len() * 2 + 4 + WAYS.iter().filter(|(_, by_node)| *by_node).count();
    eventually("the spans are there", async || collector.spans().len() >= wanted).await;
    let spans = collector.spans();
    for (number, by_node) in WAYS {
        if number == 4 {
            // Two events of a batch have one span of publishing, and one fan-out each.
            check(&spans, number, by_node, HALL);
        }
        check(&spans, number, by_node, ROOM);
        if number == 5 {
            check(&spans, number, by_node, HALL);
        }
    }
    // What was published before has no span.
    assert_eq!(spans.len(), wanted, "{spans:#?}");
    for mut client in clients {
        client.expect_data("none").await;
    }
    let count = async |name: &str| cluster.a().metrics().await.sum(name, &[]);
    let fan_outs = 12.0;
    eventually("they are counted", async || count("fanfare_trace_spans_exported_total").await >= fan_outs)
        .await;
    assert!(count("fanfare_trace_spans_total").await >= fan_outs);
    assert!(count("fanfare_trace_spans_failed_total").await < 1.0);
}

#[tokio::test]
async fn the_context_is_kept_in_the_log_entry_and_not_sent_to_clients() {
    let node = Node::alone().start().await;
    let mut client = node.stream().channel(ROOM).parameter("format", "json").open().await;
    post(&node, &[("traceparent", &context(1))], json!({"channel": ROOM, "data": "x"})).await;
    let event = client.next().await;
    assert!(!event.data.contains(&trace(1)) && !client.story().contains(&trace(1)), "{}", event.data);
    let page = node.api().get(&format!("/v1/channels/{ROOM}/events")).await;
    assert!(page.status == 200 && !page.text.contains(&trace(1)), "{}", page.text);
}

#[tokio::test]
async fn without_a_collector_the_publishers_context_is_kept_as_it_is() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node).await;
    let unsampled = context(2).replace("-01", "-00");
    for context in [&context(1), &unsampled] {
        post(cluster.a(), &[("traceparent", context)], json!({"channel": ROOM, "data": "x"})).await;
    }
    let log: Vec<(String, Vec<String>)> = cluster.redis.get(&["XRANGE", &log_key(ROOM), "-", "+"]).await;
    let kept: Vec<&[String]> = log.iter().map(|(_, fields)| &fields[6..]).collect();
    assert_eq!(kept, [["c", &context(1)], ["c", &unsampled]]);
}

#[tokio::test]
async fn the_collector_may_be_away_and_the_node_does_not_wait_for_it() {
    let collector = Collector::start().await;
    let url = collector.url();
    drop(collector);
    let node = Node::alone().set("TRACE__ENDPOINT", &url).set("TRACE__INTERVAL", "20ms");
    let mut node = node.set("TRACE__QUEUE", "2").start().await;
    let mut client = node.stream().channel(ROOM).open().await;
    for number in 0..100 {
        post(&node, &[("traceparent", &context(1))], json!({"channel": ROOM, "data": number.to_string()}))
            .await;
        client.expect_data(&number.to_string()).await;
    }
    eventually("the failure is counted", async || {
        node.metrics().await.sum("fanfare_trace_spans_failed_total", &[]) >= 1.0
    })
    .await;
    eventually("the failure is logged", async || node.log().contains("failed to send traces")).await;
    node.terminate();
    client.expect("shutdown").await;
    client.close();
    assert!(node.ended(std::time::Duration::from_secs(20)).await.success());
}

#[tokio::test]
async fn the_latency_of_a_sampled_event_has_its_trace_as_exemplar_for_those_who_ask_for_open_metrics() {
    let node = Node::alone().start().await;
    let mut client = node.stream().channel(ROOM).open().await;
    post(&node, &[], json!({"channel": ROOM, "data": "plain"})).await;
    let unsampled = context(2).replace("-01", "-00");
    post(&node, &[("traceparent", &unsampled)], json!({"channel": ROOM, "data": "unsampled"})).await;
    post(&node, &[("traceparent", &context(1))], json!({"channel": ROOM, "data": "traced"})).await;
    client.expect_data("plain").await;
    client.expect_data("unsampled").await;
    client.expect_data("traced").await;
    let metrics = async |accept: &str| {
        let answer = node.api().call("GET", "/metrics", &[("accept", accept)], "").await.expect("an answer");
        assert!(answer.header("content-type").starts_with(accept), "{}", answer.header("content-type"));
        answer.text
    };
    let exemplar = format!(" # {{trace_id=\"{}\"}} ", trace(1));
    let mut open = String::new();
    eventually("the exemplar is there", async || {
        open = metrics("application/openmetrics-text").await;
        open.contains(&exemplar)
    })
    .await;
    let lines: Vec<&str> = open.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("sse_event_latency_seconds_bucket{") && lines[0].contains("path=\"live\""));
    assert!(open.ends_with("# EOF\n"));
    assert!(!metrics("text/plain").await.contains("trace_id"));
}
