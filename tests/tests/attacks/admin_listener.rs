//! 4,100 idle sockets from one address stopped everything, `/healthz` too: the kubelet killed a healthy node with its
//! streams. Probes, metrics and admin calls have a listener with sockets of its own (`admin.listen`).

use std::net::SocketAddr;

use fanfare_testkit::api::{Answer, Api};
use fanfare_testkit::binary;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::json;
use tokio::net::TcpStream;

/// What the public listener must not have beside an admin listener.
const INSIDE: [&str; 6] =
    ["/metrics", "/readyz", "/v1/nodes", "/v1/streams", "/v1/channels/a/settings", "/v1/dead-letters"];
/// The calls about one dead letter.
const ENTRIES: [(&str, &str); 3] = [
    ("GET", "/v1/dead-letters/1-0"),
    ("DELETE", "/v1/dead-letters/1-0"),
    ("POST", "/v1/dead-letters/1-0/requeue"),
];

async fn node(redis: &Redis) -> Node {
    Node::of(redis).auth("jwt").admin().start().await
}

fn admin() -> String {
    Token::of("ops").admin().sign()
}

fn is_missing(answer: &Answer, path: &str) {
    answer.is_problem(404, "not-found", &["admin.listen"]).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(!answer.text.contains("sse_active_connections") && !answer.text.contains("redis"), "{path}");
}

#[tokio::test]
async fn idle_sockets_that_fill_the_public_listener_leave_probes_metrics_admins_and_streams_alone() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").admin().set("LIMITS__SOCKETS", "20").start().await;
    let mut stream = node.stream().token(&Token::of("7").sign()).open().await;
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(TcpStream::connect(node.address()).await.unwrap());
    }
    until("the public listener is full", SOON, async || {
        let metrics = node.metrics().await;
        let full =
            ["fanfare_accept_waits_total", "fanfare_sockets_refused_total", "fanfare_sockets_evicted_total"];
        let times: f64 = full.iter().map(|name| metrics.sum(name, &[])).sum();
        if times > 0.0 { Ok(()) } else { Err("it is not") }
    })
    .await;
    let api = node.admin_api().with_token(&admin());
    for round in 0..3 {
        for path in ["/healthz", "/readyz", "/metrics", "/v1/nodes"] {
            assert_eq!(api.get(path).await.status, 200, "{round}: {path}");
        }
    }
    assert!(health(&node).success(), "the probe of the image");
    redis.cli(&["FCALL", "fanfare_publish", "1", "fanfare:{user:7}:log", "t", "on"]).await;
    assert_eq!(&*stream.expect("t").await.data, "on");
    drop(idle);
    until("clients are served again", SOON, async || {
        node.api().call("GET", "/healthz", &[], "").await.map(drop).map_err(|e| e.to_string())
    })
    .await;
}

/// `fanfare health --ready` with the node's settings.
fn health(node: &Node) -> std::process::ExitStatus {
    let admin = node.admin_address().expect("it has an admin listener");
    let mut command = binary::command();
    command.args(["health", "--ready"]).env("FANFARE_ADMIN__LISTEN", admin.to_string());
    command.env("FANFARE_NODE__LISTEN", node.address().to_string());
    // The node's certificate is for the other listener.
    command.output().expect("the binary can be run").status
}

#[tokio::test]
async fn beside_an_admin_listener_the_public_one_has_no_metrics_readiness_and_admin_calls() {
    let redis = Redis::start().await;
    let node = node(&redis).await;
    let (public, inside) = (node.api().with_token(&admin()), node.admin_api().with_token(&admin()));
    for path in INSIDE {
        for method in ["GET", "POST", "DELETE"] {
            is_missing(&public.call(method, path, &[], "").await.unwrap(), path);
        }
        let asked = public.get(&format!("{path}?x=1")).await;
        is_missing(&asked, path);
        assert_eq!(inside.get(path).await.status, 200, "{path}");
    }
    for (method, path) in ENTRIES {
        is_missing(&public.call(method, path, &[], "").await.unwrap(), path);
        let answer = inside.call(method, path, &[], "").await.unwrap();
        answer.is_problem(404, "not-found", &["no entry 1-0"]).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    for path in ["//metrics", "/metrics/", "/%6detrics", "/METRICS", "/v1//nodes", "/v1/nodes/", "/./readyz"]
    {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        let answer = fanfare_testkit::exchange::exchange(node.address(), &request, "").await;
        assert_eq!(answer.head.status, 404, "{path}: {answer:?}");
    }
    assert_eq!(public.get("/healthz").await.text, r#"{"status":"ok"}"#, "a constant, for liveness checks");
    // What balancers ask has no reasons.
    let ready = public.get("/ready").await;
    assert_eq!((ready.status, &*ready.text), (204, ""));
}

#[tokio::test]
async fn metrics_need_no_token_on_the_admin_listener_and_admin_calls_still_do() {
    let redis = Redis::start().await;
    let node = node(&redis).await;
    let open = node.admin_api();
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(open.get(path).await.status, 200, "{path}");
    }
    open.get("/v1/nodes").await.is_problem(401, "no-token", &[]).unwrap();
    let user = node.admin_api().with_token(&Token::of("7").sign());
    user.get("/v1/nodes").await.is_problem(403, "no-grant", &[]).unwrap();
    for (method, path) in [("GET", "/v1/dead-letters")].into_iter().chain(ENTRIES) {
        let answer = open.call(method, path, &[], "").await.unwrap();
        answer.is_problem(401, "no-token", &[]).unwrap_or_else(|e| panic!("{path}: {e}"));
        let answer = user.call(method, path, &[], "").await.unwrap();
        answer.is_problem(403, "no-grant", &["needs admin"]).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    user.get("/v1/users/8/sessions").await.is_problem(403, "no-grant", &[]).unwrap();
}

#[tokio::test]
async fn users_see_their_own_sessions_on_the_public_listener_and_admins_see_all_on_the_admin_listener() {
    let redis = Redis::start().await;
    let node = node(&redis).await;
    let token = Token::of("7").sign();
    let mut stream = node.stream().token(&token).open().await;
    let own = node.api().with_token(&token);
    assert_eq!(own.get("/v1/users/7/sessions").await.json()["sessions"].as_array().unwrap().len(), 1);
    let outside = node.api().with_token(&admin());
    for method in ["GET", "DELETE"] {
        let path = "/v1/users/7/sessions";
        is_missing(&outside.call(method, path, &[], "").await.unwrap(), path);
        let path = format!("{path}/{}", stream.session());
        if method == "DELETE" {
            is_missing(&outside.call(method, &path, &[], "").await.unwrap(), &path);
        }
    }
    let inside = node.admin_api().with_token(&admin());
    assert_eq!(inside.get("/v1/users/7/sessions").await.json()["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(inside.delete("/v1/users/7/sessions").await.json()["disconnected"], 1);
    stream.expect("disconnected").await;
}

#[tokio::test]
async fn the_admin_listener_has_no_streams_of_clients_and_takes_no_events_of_publishers() {
    let redis = Redis::start().await;
    let node = node(&redis).await;
    let grants = Token::of("7").subscribe(&["*"]).publish(&["*"]);
    let inside = node.admin_api().with_token(&grants.sign());
    for path in ["/v1/events", "/v1/channels/a/events"] {
        let answer = inside.get(path).await;
        answer.is_problem(403, "no-grant", &["operators"]).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    inside.get("/ready").await.is_problem(404, "not-found", &[]).unwrap();
    let event = json!({"channel": "a", "data": "x"});
    inside.post(&event).await.unwrap().is_problem(403, "no-grant", &["operators"]).unwrap();
}

#[tokio::test]
async fn a_node_that_drains_says_so_on_the_admin_listener_to_the_end() {
    let redis = Redis::start().await;
    let slow = |node: NodeBuilder| node.set("DRAIN__NOTICE", "2s").set("DRAIN__DEADLINE", "30s");
    let mut node = slow(Node::of(&redis).admin()).start().await;
    let admin = node.admin_address().unwrap();
    node.terminate();
    let readiness = node.readyz(503).await;
    assert_eq!(readiness["parts"]["draining"]["ok"], false, "{readiness}");
    assert_eq!(node.api().get("/ready").await.status, 503);
    assert_eq!(node.admin_api().get("/healthz").await.status, 200);
    assert!(node.ended(SOON).await.success());
    assert!(TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn without_an_admin_listener_every_call_is_on_the_one_that_there_is() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let api = node.api().with_token(&admin());
    for path in INSIDE {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    assert_eq!(api.get("/v1/users/7/sessions").await.status, 200);
    assert_eq!(api.get("/ready").await.status, 204);
}

#[tokio::test]
async fn idle_sockets_on_the_admin_listener_are_closed_within_seconds() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).admin().set("ADMIN__SOCKETS", "4").start().await;
    let admin: SocketAddr = node.admin_address().unwrap();
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(admin).await.unwrap());
    }
    // A call fails after 20 s.
    assert_eq!(Api::at(admin).get("/healthz").await.status, 200);
}
