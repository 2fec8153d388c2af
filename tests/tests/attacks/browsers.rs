//! Pages that use what their visitor's browser adds by itself, or that a cache or a browser mistakes for something else.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use fanfare_testkit::api::Api;
use fanfare_testkit::binary;
use fanfare_testkit::exchange::exchange;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::token::Token;
use serde_json::json;

const APP: &str = "https://app.example";
const EVIL: &str = "https://evil.example";

#[tokio::test]
async fn with_the_token_in_a_cookie_a_page_of_another_origin_can_neither_publish_nor_end_nor_read() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").set("HTTP__ALLOWED_ORIGINS", APP).start().await;
    let token = Token::of("7").publish(&["room:*"]).subscribe(&["room:*"]).sign();
    let cookie = format!("a=b; fanfare_token={token}");
    let own = format!("http://{}", node.address());
    let other_port = "http://127.0.0.1:1".to_owned();
    let body = json!({"channel": "room:1", "data": "x"}).to_string();
    let calls = [
        ("POST", "/v1/publish", &*body),
        ("GET", "/v1/events?channel=room:1", ""),
        ("HEAD", "/v1/events", ""),
        ("GET", "/v1/channels/room:1/events", ""),
        ("GET", "/v1/users/7/sessions", ""),
        ("DELETE", "/v1/users/7/sessions", ""),
    ];
    let stored = async || redis.get::<usize>(&["XLEN", "fanfare:{room:1}:log"]).await;
    for (method, path, body) in calls {
        for origin in [EVIL, "null", &other_port, "https://app.example.evil.example"] {
            let fields = [("Cookie", &*cookie), ("Origin", origin), ("Content-Type", "application/json")];
            let answer = node.api().call(method, path, &fields, body).await.unwrap();
            assert_eq!(answer.status, 403, "{method} {path} from {origin}: {}", answer.text);
            if method != "HEAD" {
                answer.is_problem(403, "foreign-origin", &["http.allowed_origins"]).unwrap();
            }
            assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        }
        // An image, a frame or a script of another page: no origin is sent.
        let fields =
            [("Cookie", &*cookie), ("Sec-Fetch-Site", "cross-site"), ("Content-Type", "application/json")];
        let answer = node.api().call(method, path, &fields, body).await.unwrap();
        assert_eq!(answer.status, 403, "{method} {path} of an image: {}", answer.text);
    }
    assert_eq!(stored().await, 0);
    // Its own pages, named pages, clients that send the token, and clients that are not browsers.
    let post = async |fields: &[(&str, &str)]| {
        let fields = [fields, &[("Content-Type", "application/json")]].concat();
        node.api().call("POST", "/v1/publish", &fields, body.clone()).await.unwrap().status
    };
    assert_eq!(post(&[("Cookie", &cookie), ("Origin", &own)]).await, 200);
    assert_eq!(post(&[("Cookie", &cookie), ("Origin", APP)]).await, 200);
    assert_eq!(post(&[("Cookie", &cookie)]).await, 200);
    let bearer = format!("Bearer {token}");
    assert_eq!(post(&[("Authorization", &bearer), ("Origin", EVIL)]).await, 200);
    assert_eq!(stored().await, 4);
    let stream = || node.stream().header("Cookie", &cookie);
    stream().open().await;
    stream().header("Origin", &own).open().await;
    stream().header("Origin", APP).open().await;
    stream().header("Sec-Fetch-Site", "same-origin").open().await;
}

#[tokio::test]
async fn a_star_in_allowed_origins_lets_no_page_use_a_cookie() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").set("HTTP__ALLOWED_ORIGINS", "*").start().await;
    let token = Token::of("7").sign();
    let cookie = format!("fanfare_token={token}");
    let refused = node.stream().header("Cookie", &cookie).header("Origin", EVIL).send().await.answer().await;
    refused.is_problem(403, "foreign-origin", &[]).unwrap();
    node.stream().token(&token).header("Origin", EVIL).open().await;
}

#[tokio::test]
async fn over_http_2_the_own_origin_is_that_of_the_authority() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let cookie = format!("fanfare_token={}", Token::of("7").sign());
    let connections = fanfare_testkit::http2::Http2::clear();
    let own = format!("http://{}", node.address());
    for (origin, status) in [(&*own, 200), (EVIL, 403)] {
        let request = node.stream().http2(&connections).header("Cookie", &cookie).header("Origin", origin);
        assert_eq!(request.send().await.status(), status, "{origin}");
    }
}

/// A name that leads to the loopback after a moment (DNS rebinding).
async fn is_rebound(to: SocketAddr, host: &str, status: u16) {
    for (method, path) in
        [("GET", "/v1/nodes"), ("GET", "/healthz"), ("GET", "/metrics"), ("POST", "/v1/publish")]
    {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\
             Origin: http://{host}\r\n\r\n"
        );
        let answer = exchange(to, &request, "").await;
        if status == 421 {
            assert_eq!(answer.head.status, 421, "{method} {path} of {host}: {answer:?}");
            assert!(answer.rest.contains("/v1/problems#misdirected"), "{answer:?}");
        } else {
            assert_ne!(answer.head.status, 421, "{method} {path} of {host}: {answer:?}");
        }
    }
    let request = format!("GET /v1/events?user=7 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let answer = exchange(to, &request, "\r\n\r\n").await;
    assert_eq!(answer.head.status, status, "{host}: {answer:?}");
    // The target's authority is what counts, whatever Host says.
    let request =
        format!("GET http://{host}/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(to, &request, "").await.head.status, status, "{host}");
}

#[tokio::test]
async fn without_tokens_on_the_loopback_a_registered_name_gets_nothing() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let port = node.address().port();
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example"] {
        is_rebound(node.address(), &format!("{host}:{port}"), 421).await;
    }
    for host in ["127.0.0.1", "localhost", "[::1]", "app.localhost"] {
        is_rebound(node.address(), &format!("{host}:{port}"), 200).await;
    }
    let named = Node::of(&redis).id("b").set("HTTP__ALLOWED_HOSTS", "sse.example").start().await;
    is_rebound(named.address(), "sse.example", 200).await;
    is_rebound(named.address(), "evil.example", 421).await;
    // With tokens the name does not matter: a page has none.
    let guarded = Node::of(&redis).id("c").auth("jwt").start().await;
    let request = "GET /healthz HTTP/1.1\r\nHost: sse.example\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(guarded.address(), request, "").await.head.status, 200);
}

#[tokio::test]
async fn metrics_on_a_loopback_admin_listener_are_not_for_pages_of_a_registered_name() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").admin().start().await;
    let admin = node.admin_address().unwrap();
    let ask = async |host: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        exchange(admin, &request, "").await.head.status
    };
    assert_eq!((ask("evil.example").await, ask("127.0.0.1").await), (421, 200));
}

/// `fanfare dev`. Killed when dropped.
struct Dev {
    child: Child,
    address: SocketAddr,
}

impl Dev {
    fn start() -> Self {
        let mut command = binary::command();
        command.args(["dev", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Fanfare is at http://").and_then(|at| at.strip_suffix('/'));
        Self { child, address: address.and_then(|at| at.parse().ok()).expect("the address") }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn fanfare_dev_answers_to_localhost_and_addresses_and_to_no_other_name() {
    let dev = Dev::start();
    let port = dev.address.port();
    for host in ["evil.example", "evil", "dev.lan"] {
        is_rebound(dev.address, &format!("{host}:{port}"), 421).await;
    }
    for host in ["127.0.0.1", "localhost"] {
        is_rebound(dev.address, &format!("{host}:{port}"), 200).await;
    }
    // A page elsewhere, without rebinding.
    let body = json!({"channel": "demo", "data": "x"}).to_string();
    for (site, status) in [("cross-site", 403), ("same-origin", 200)] {
        let fields = [("Content-Type", "application/json"), ("Sec-Fetch-Site", site)];
        let answer = Api::at(dev.address).call("POST", "/v1/publish", &fields, body.clone()).await.unwrap();
        assert_eq!(answer.status, status, "{site}: {}", answer.text);
    }
    let frame = StreamRequest::to(dev.address).user("7").header("Sec-Fetch-Site", "cross-site").send().await;
    assert_eq!(frame.status(), 403);
}

#[tokio::test]
async fn no_answer_may_be_kept_by_a_cache_or_taken_for_another_type() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").set("HTTP__ALLOWED_ORIGINS", APP).start().await;
    let bearer = format!("Bearer {}", Token::of("7").admin().sign());
    let token = ("Authorization", &*bearer);
    for (method, path, fields, status) in [
        ("GET", "/healthz", &[][..], 200),
        ("GET", "/ready", &[], 204),
        ("GET", "/readyz", &[], 200),
        ("GET", "/metrics", &[], 200),
        ("HEAD", "/metrics", &[], 200),
        ("GET", "/v1/nodes", &[token], 200),
        ("GET", "/v1/users/7/sessions", &[token], 200),
        ("DELETE", "/v1/users/7/sessions", &[token], 200),
        ("GET", "/v1/channels/a/events", &[token], 200),
        ("GET", "/v1/channels/a/events", &[], 401),
        ("POST", "/v1/publish", &[token], 415),
        ("HEAD", "/v1/events", &[token], 200),
        ("GET", "/v1/events", &[], 401),
        ("GET", "/nothing", &[], 404),
        ("PUT", "/v1/publish", &[], 405),
        ("BREW", "/healthz", &[], 501),
        ("OPTIONS", "/v1/events", &[("Origin", APP), ("Access-Control-Request-Method", "GET")], 200),
    ] {
        let answer = node.api().call(method, path, fields, "").await.unwrap();
        let exchange = format!("{method} {path}: {:?}", answer.headers);
        assert_eq!(answer.status, status, "{exchange}");
        assert!(answer.header("cache-control").contains("no-store"), "{exchange}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{exchange}");
    }
    let stream = node.stream().header("Authorization", &bearer).open().await;
    assert!(stream.head().field("cache-control").contains("no-store"), "{:?}", stream.head());
    assert_eq!(stream.head().field("x-content-type-options"), "nosniff");
}
