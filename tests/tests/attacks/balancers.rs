//! What passes the balancers of `deploy/`: nginx and `HAProxy` passed `/metrics` to every client.

use std::net::SocketAddr;

use fanfare_testkit::api::Api;
use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::behind_each;
use fanfare_testkit::exchange::{Exchanged, exchange};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::token::Token;
use serde_json::json;

/// What clients have no business with, in every spelling that a balancer or a node may take for it.
const INSIDE: [&str; 36] = [
    "/metrics",
    "/metrics?x=1",
    "/metrics/",
    "//metrics",
    "/./metrics",
    "/v1/../metrics",
    "/v1/..%2fmetrics",
    "/v1/events/../../metrics",
    "/%6detrics",
    "/METRICS",
    "/metrics;v1",
    "http://a/metrics",
    "/readyz",
    "/ready",
    "/readyz?/v1/",
    "/v1/nodes",
    "/v1/nodes?x=1",
    "/v1/nodes/",
    "/v1//nodes",
    "/v1/./nodes",
    "/v1/%6eodes",
    "http://a/v1/nodes",
    "/v1/streams",
    "/v1/streams?x=1",
    "/v1//streams",
    "/v1/%73treams",
    "/v1/revocations",
    "/v1/revocations?x=1",
    "/v1//revocations",
    "/v1/%72evocations",
    "/v1/dead-letters",
    "/v1/dead-letters?x=1",
    "/v1//dead-letters",
    "/v1/%64ead-letters",
    "/v1/dead-letters/1-0",
    "/v1/dead-letters/1-0/requeue",
];

async fn ask(to: SocketAddr, method: &str, target: &str, fields: &str) -> Exchanged {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
    exchange(to, &request, "").await
}

behind_each! {
    metrics_readiness_and_admin_calls_are_not_passed_on => inside;
    clients_and_publishers_are_served_with_and_without_an_admin_listener => outside;
    a_page_of_the_balancers_own_origin_may_use_its_cookie_and_no_other_page => cookies;
}

/// The nodes have no admin listener, so that each of them would answer.
async fn inside(kind: Kind) {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let balancer = Balancer::before(kind, [node.address(); 3]).await;
    let admin = format!("Authorization: Bearer {}\r\n", Token::of("ops").admin().sign());
    for target in INSIDE {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let answer = ask(balancer.address(), method, target, &admin).await;
            let status = answer.head.status;
            assert!([400, 404].contains(&status), "{method} {target}: {answer:?}");
            for word in ["# TYPE", "\"parts\"", "connections", "draining", "dead-letter stream"] {
                assert!(!answer.rest.contains(word), "{method} {target}: {answer:?}");
            }
        }
    }
    let answer = ask(balancer.address(), "GET", "/metrics", "").await;
    assert_eq!(answer.head.field("content-type"), "application/problem+json", "{answer:?}");
    assert!(answer.rest.contains("/v1/problems#not-found"), "{answer:?}");
    // The node itself answers.
    assert_eq!(ask(node.address(), "GET", "/metrics", "").await.head.status, 200);
}

async fn outside(kind: Kind) {
    let redis = Redis::start().await;
    let plain = Node::of(&redis).id("a").start().await;
    let apart = Node::of(&redis).id("b").admin().start().await;
    for node in [&plain, &apart] {
        let balancer = Balancer::before(kind, [node.address(); 3]).await;
        let api = Api::at(balancer.address());
        let mut stream = StreamRequest::to(balancer.address()).user("7").channel("room:1").open().await;
        assert_eq!(
            api.post(&json!({"channel": "room:1", "type": "t", "data": "x"})).await.unwrap().status,
            200
        );
        assert_eq!(&*stream.expect("t").await.data, "x");
        for path in ["/healthz", "/v1/channels/room:1/events", "/v1/users/7/sessions?user=7"] {
            assert_eq!(api.get(path).await.status, 200, "{path}");
        }
    }
}

async fn cookies(kind: Kind) {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let balancer = Balancer::before(kind, [node.address(); 3]).await;
    let cookie = format!("fanfare_token={}", Token::of("7").publish(&["room:*"]).sign());
    let body = json!({"channel": "room:1", "data": "x"}).to_string();
    for (origin, status) in
        [(balancer.url(), 200), ("https://evil.example".into(), 403), ("null".into(), 403)]
    {
        let fields =
            [("Content-Type", "application/json"), ("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
        let answer =
            Api::at(balancer.address()).call("POST", "/v1/publish", &fields, body.clone()).await.unwrap();
        assert_eq!(answer.status, status, "{origin}: {}", answer.text);
    }
}
