//! Whatever a stream's request is answered with, a page of an allowed origin may read it.
//!
//! Issue 10, row 19: without CORS headers a native `EventSource` of another origin is closed for good, also by an answer that
//! says when to come back.

use fanfare_testkit::api::Answer;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::redis::Redis;

const ORIGIN: &str = "https://app.example";

async fn cluster(configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Cluster {
    let configure = |node: NodeBuilder| configure(node).set("HTTP__ALLOWED_ORIGINS", ORIGIN);
    Cluster::on(Redis::start().await, 1, configure).await
}

async fn call(cluster: &Cluster, method: &str, path: &str, more: &[(&str, &str)]) -> Answer {
    let headers = [&[("Origin", ORIGIN)], more].concat();
    cluster.a().api().call(method, path, &headers, "").await.expect("an answer")
}

fn is_readable(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), "true", "{answer:?}");
    let vary = answer.headers.get_all("vary").iter().filter_map(|value| value.to_str().ok());
    assert!(
        vary.flat_map(|line| line.split(',')).any(|name| name.trim().eq_ignore_ascii_case("origin")),
        "{answer:?}"
    );
}

/// What a browser asks before a request with headers of its own.
async fn preflight_is_answered(cluster: &Cluster) {
    let asks = [
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "last-event-id,authorization"),
    ];
    let answer = call(cluster, "OPTIONS", "/v1/events", &asks).await;
    is_readable(&answer, 200);
    let allowed = answer.header("access-control-allow-headers").to_lowercase();
    for header in ["last-event-id", "authorization", "traceparent"] {
        assert!(allowed.contains(header), "{answer:?}");
    }
}

async fn is_overloaded(cluster: &Cluster, reason: &str) {
    preflight_is_answered(cluster).await;
    let answer = call(cluster, "GET", "/v1/events?user=8", &[]).await;
    is_readable(&answer, 200);
    assert!(answer.text.contains("event: overloaded") && answer.text.contains(reason), "{}", answer.text);
    let answer = call(cluster, "GET", "/v1/events?user=8", &[("Prefer", "status")]).await;
    is_readable(&answer, if reason == "user-sessions" { 429 } else { 503 });
}

#[tokio::test]
async fn a_stream_and_every_refusal_can_be_read_by_a_page_of_an_allowed_origin() {
    let cluster = cluster(|node| node.auth("jwt")).await;
    preflight_is_answered(&cluster).await;
    for (method, path, more, status) in [
        ("GET", "/v1/events", &[][..], 401),
        ("GET", "/v1/events?token=x", &[], 401),
        ("GET", "/v1/events?after=x", &[], 401),
        ("POST", "/v1/events", &[], 405),
        ("BREW", "/v1/events", &[], 501),
        ("GET", "/v1/event", &[], 404),
        ("GET", "/v1/events", &[("Expect", "x")], 417),
        ("POST", "/v1/publish", &[("Content-Type", "text/plain")], 401),
    ] {
        is_readable(&call(&cluster, method, path, more).await, status);
    }
    let token = fanfare_testkit::token::Token::of("7").sign();
    let client = cluster.a().stream().token(&token).header("Origin", ORIGIN).open().await;
    assert_eq!(client.head().field("access-control-allow-origin"), ORIGIN);
    let vary: Vec<_> = client.head().fields.iter().filter(|(name, _)| name == "vary").collect();
    assert!(vary.iter().any(|(_, value)| value.to_lowercase().contains("origin")), "{vary:?}");
    assert!(vary.iter().any(|(_, value)| value.to_lowercase().contains("accept-encoding")), "{vary:?}");
    let refused =
        cluster.a().stream().token(&token).header("Origin", ORIGIN).parameter("last", "0").send().await;
    is_readable(&refused.answer().await, 400);
    // Another origin gets no CORS headers, and no cache may mix up the responses.
    let other =
        cluster.a().api().call("GET", "/v1/event", &[("Origin", "https://other.example")], "").await.unwrap();
    assert_eq!(other.header("access-control-allow-origin"), "", "{other:?}");
    assert!(other.header("vary").contains("origin"), "{other:?}");
}

#[tokio::test]
async fn an_overloaded_node_can_be_read_by_a_page_of_an_allowed_origin() {
    let cluster = cluster(|node| node.set("LIMITS__CONNECTIONS", "1")).await;
    let _first = cluster.a().stream().user("8").open().await;
    is_overloaded(&cluster, "connections").await;
}

#[tokio::test]
async fn a_user_with_too_many_sessions_can_read_so() {
    let cluster = cluster(|node| node.set("LIMITS__SESSIONS_PER_USER", "1")).await;
    let _first = cluster.a().stream().user("8").open().await;
    is_overloaded(&cluster, "user-sessions").await;
}

#[tokio::test]
async fn a_node_without_redis_can_be_read_by_a_page_of_an_allowed_origin() {
    let mut cluster = cluster(|node| node.set("REDIS__TIMEOUT", "500ms")).await;
    cluster.redis.stop().await;
    cluster.a().readyz(503).await;
    is_overloaded(&cluster, "unavailable").await;
}

#[tokio::test]
async fn a_node_that_drains_can_be_read_by_a_page_of_an_allowed_origin() {
    let cluster = cluster(|node| node.set("DRAIN__NOTICE", "1m").set("DRAIN__DEADLINE", "2m")).await;
    cluster.a().terminate();
    until("the node drains", SOON, async || {
        let status = cluster.a().api().get("/readyz").await.status;
        if status == 503 { Ok(()) } else { Err(status) }
    })
    .await;
    is_overloaded(&cluster, "draining").await;
}
