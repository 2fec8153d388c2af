//! A client that has closed its sending half gets its answer (RFC 9112, section 9.6), and one that has left is noticed at
//! once.
//!
//! Issue 10, row 11: `nc -N`, and balancers of TCP connections that pass a FIN on, got nothing back from any call, while
//! the publish was stored.

use std::time::{Duration, Instant};

use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::tcp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// A connection, over TLS if there is a certificate.
async fn connect(node: &Node, certificate: Option<&Certificate>) -> Box<dyn Socket> {
    let socket = tcp::connect(node.address(), None, None).await.expect("it listens");
    match certificate {
        None => Box::new(socket),
        Some(certificate) => {
            Box::new(tcp::tls_handshake(certificate, &["http/1.1"], socket).await.expect("it is trusted"))
        }
    }
}

/// Writes a request and closes the sending half.
async fn ask(node: &Node, certificate: Option<&Certificate>, request: &str) -> Box<dyn Socket> {
    let mut socket = connect(node, certificate).await;
    socket.write_all(request.as_bytes()).await.expect("it is open");
    socket.shutdown().await.expect("it is open");
    socket
}

/// Reads until a text has come.
async fn read_until(socket: &mut Box<dyn Socket>, wanted: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !text.contains(wanted) {
        match timeout(SOON, socket.read(&mut piece)).await {
            Ok(Ok(read @ 1..)) => text.push_str(&String::from_utf8_lossy(&piece[..read])),
            ended => panic!("no {wanted:?}, but {ended:?} after {text:?}"),
        }
    }
    text
}

async fn scene(certificate: Option<&Certificate>) -> Cluster {
    let configure = |node: NodeBuilder| {
        let node = node.set("STREAM__HEARTBEAT", "500ms");
        certificate.map_or(node.clone(), |certificate| node.tls(certificate))
    };
    Cluster::on(Redis::start().await, 1, configure).await
}

async fn every_call_is_answered(certificate: Option<&Certificate>) {
    let cluster = scene(certificate).await;
    let body = r#"{"channel":"user:7","data":"one"}"#;
    let post = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    for (request, word) in [
        (post, "\"repeat\""),
        (get("/v1/channels/user:7/events"), "\"one\""),
        (get("/v1/users/7/sessions"), "\"sessions\""),
        ("DELETE /v1/users/7/sessions HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "\"disconnected\""),
        (get("/v1/nodes"), "\"nodes\""),
        (get("/metrics"), "\nsse_active_connections "),
        (get("/healthz"), "ok"),
        ("GET /readyz HTTP/1.0\r\n\r\n".to_owned(), "ready"),
    ] {
        let mut socket = ask(cluster.a(), certificate, &request).await;
        let text = read_until(&mut socket, word).await;
        assert!(text.contains(" 200 OK\r\n"), "{request}: {text}");
    }
}

#[tokio::test]
async fn every_call_is_answered_after_the_client_closed_its_sending_half() {
    every_call_is_answered(None).await;
}

#[tokio::test]
async fn every_call_is_answered_after_close_notify_of_tls() {
    every_call_is_answered(Some(&Certificate::of(&["localhost", "127.0.0.1", "10.9.0.1"]))).await;
}

async fn a_stream_goes_on(certificate: Option<&Certificate>) {
    let cluster = scene(certificate).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    for version in ["1.1", "1.0"] {
        let request = format!("GET /v1/events?user={version} HTTP/{version}\r\nHost: a\r\n\r\n");
        let mut socket = ask(cluster.a(), certificate, &request).await;
        read_until(&mut socket, "connected").await;
        for data in ["first", "second", "third"] {
            // The probes for a client that is gone have passed, and a heartbeat too.
            read_until(&mut socket, ":").await;
            publisher.publish(&format!("user:{version}"), "t", data).await;
            read_until(&mut socket, &format!("data: {data}\n")).await;
        }
        let events = lifecycle::of_user(&cluster.redis, version).await;
        assert_eq!(events, ["session.connected a", "user.online"]);
        // Now it is gone: the next heartbeat finds that out.
        drop(socket);
        lifecycle::tells(
            &cluster.redis,
            version,
            &["session.connected a", "user.online", "session.disconnected closed", "user.offline"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_the_client_closed_its_sending_half() {
    a_stream_goes_on(None).await;
}

#[tokio::test]
async fn a_stream_goes_on_after_close_notify_of_tls() {
    a_stream_goes_on(Some(&Certificate::of(&["localhost", "127.0.0.1", "10.9.0.1"]))).await;
}

/// What `session.disconnected` may take: publishers cancel work when they read it.
const AT_ONCE: Duration = Duration::from_millis(500);

async fn leaving_is_noticed(certificate: Option<&Certificate>) {
    // A heartbeat would find out much later.
    let configure = |node: NodeBuilder| {
        let node = node.set("STREAM__HEARTBEAT", "1m");
        certificate.map_or(node.clone(), |certificate| node.tls(certificate))
    };
    let cluster = Cluster::on(Redis::start().await, 1, configure).await;
    let mut took = Vec::new();
    for n in 0..20 {
        let user = n.to_string();
        let mut client = cluster.a().stream().user(&user).open().await;
        let left = Instant::now();
        client.close();
        until("the session is over", SOON, async || {
            let events = lifecycle::of_user(&cluster.redis, &user).await;
            if events.iter().any(|event| event == "session.disconnected closed") {
                Ok(())
            } else {
                Err(format!("{events:?}"))
            }
        })
        .await;
        took.push(left.elapsed());
    }
    took.sort();
    println!("session.disconnected after {took:?}");
    assert!(took[took.len() / 2] < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_once() {
    leaving_is_noticed(None).await;
}

#[tokio::test]
async fn a_client_that_leaves_over_tls_is_noticed_at_once() {
    leaving_is_noticed(Some(&Certificate::of(&["localhost", "127.0.0.1", "10.9.0.1"]))).await;
}

#[tokio::test]
async fn an_end_that_the_node_began_does_not_wait_for_a_client_that_closed_its_half_before() {
    let configure = |node: NodeBuilder| node.set("STREAM__LINGER", "1m");
    let mut cluster = Cluster::on(Redis::start().await, 1, configure).await;
    let request = "GET /v1/events?user=7 HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut socket = ask(cluster.a(), None, request).await;
    read_until(&mut socket, "connected").await;
    cluster.a().terminate();
    let rest = read_until(&mut socket, "0\r\n\r\n").await;
    assert!(rest.contains("event: shutdown"), "{rest}");
    assert!(cluster.nodes[0].ended(SOON).await.success());
}
