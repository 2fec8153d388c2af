//! Clients that leave behind a balancer. `HAProxy` without `option abortonclose` noticed a closed connection two
//! heartbeats later: a user who reloads a page 17 times in half a minute had too many sessions.

use fanfare_testkit::api::Api;
use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn a_page_that_is_reloaded_twenty_times_behind_nginx_is_served_each_time() {
    reloads(Kind::Nginx).await;
}

#[tokio::test]
async fn a_page_that_is_reloaded_twenty_times_behind_haproxy_is_served_each_time() {
    reloads(Kind::Haproxy).await;
}

async fn reloads(kind: Kind) {
    let redis = Redis::start().await;
    // Longer than a test waits: no heartbeat may be what shows that a client is gone.
    let node = Node::of(&redis).set("STREAM__HEARTBEAT", "1m").set("LIMITS__SESSIONS_PER_USER", "3");
    let node = node.start().await;
    let balancer = Balancer::before(kind, [node.address(); 3]).await;
    for load in 0..20 {
        let mut client = StreamRequest::to(balancer.address()).user("7").open().await;
        client.close();
        nothing_is_held(&node.api(), load).await;
    }
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_half_is_answered_behind_nginx() {
    half_closed_calls(Kind::Nginx).await;
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_half_is_answered_behind_haproxy() {
    half_closed_calls(Kind::Haproxy).await;
}

/// nginx dropped the connection of such a caller, while the event was stored: the publisher did not know that.
async fn half_closed_calls(kind: Kind) {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let balancer = Balancer::before(kind, [node.address(); 3]).await;
    let body = r#"{"channel":"room:1","data":"x"}"#;
    let post = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let calls = [
        (post, "\"repeat\""),
        (get("/v1/channels/room:1/events"), "\"events\""),
        (get("/v1/users/7/sessions"), "\"sessions\""),
        (get("/healthz"), "ok"),
    ];
    // Several times: the answer may come before the balancer reads the end.
    for (request, word) in calls.iter().cycle().take(40) {
        let mut socket = TcpStream::connect(balancer.address()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = String::new();
        timeout(SOON, socket.read_to_string(&mut answer)).await.expect("an answer").expect("text");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(word), "{request}: {answer:?}");
    }
}

async fn nothing_is_held(api: &Api, load: usize) {
    until(&format!("load {load} holds no session any more"), SOON, async || {
        let answer = api.get("/v1/users/7/sessions").await.json();
        if answer["sessions"].as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err(answer) }
    })
    .await;
}
