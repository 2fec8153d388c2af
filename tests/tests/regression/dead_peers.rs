//! A client that vanishes without a word is gone within `stream.heartbeat` + `stream.peer_timeout`.
//!
//! Issue 10, row 4: a phone that lost its network stayed for as long as TCP retransmits, since neither the write time-out
//! nor keepalive runs while a heartbeat waits for its acknowledgement. The user was locked out by sessions of its own
//! (`limits.sessions_per_user`) and shown online.
//!
//! Streams that an HTTP/2 connection lost by its ping timeout ended with the reason `closed`, as if the client had left.
//!
//! Needs root: the network is pulled between two namespaces.

use std::time::{Duration, Instant};

use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::client::{Client, Step};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::frames::Frames;
use fanfare_testkit::http2::Http2;
use fanfare_testkit::lifecycle;
use fanfare_testkit::namespace::{FarSide, HERE, with_a_cable};
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;

const HEARTBEAT: Duration = Duration::from_secs(1);
const PEER_TIMEOUT: Duration = Duration::from_secs(3);
/// Timers of the kernel and of a busy machine.
const SLACK: Duration = Duration::from_millis(1500);
/// As many as a user may have.
const SESSIONS: usize = 16;

async fn cluster(redis: Redis, configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Cluster {
    let settings = |node: NodeBuilder| {
        configure(node)
            .at((HERE, 0).into())
            .set("STREAM__HEARTBEAT", "1s")
            .set("STREAM__WRITE_TIMEOUT", "3s")
            .set("STREAM__PEER_TIMEOUT", "3s")
    };
    Cluster::on(redis, 1, settings).await
}

async fn open(requests: Vec<StreamRequest>) -> Vec<Client> {
    let mut clients = Vec::new();
    for request in requests {
        clients.push(request.open().await);
    }
    clients
}

/// Lets all sessions of user 7 vanish, and waits until they are gone. `meanwhile` runs at once after the loss.
async fn vanish(
    far: FarSide,
    cluster: &Cluster,
    requests: Vec<StreamRequest>,
    meanwhile: impl AsyncFnOnce(),
) -> Duration {
    let count = requests.len();
    let clients = far.clients(move || open(requests));
    let listed = async || {
        cluster.a().api().get("/v1/users/7/sessions").await.json()["sessions"].as_array().map(Vec::len)
    };
    assert_eq!(listed().await, Some(count));
    far.pull();
    let gone = Instant::now();
    meanwhile().await;
    until("the sessions are gone", SOON, async || match listed().await {
        Some(0) => Ok(()),
        left => Err(format!("{left:?} are left")),
    })
    .await;
    let took = gone.elapsed();
    assert!(took < HEARTBEAT + PEER_TIMEOUT + SLACK, "{took:?}");
    until("the user is offline", SOON, async || {
        let events = lifecycle::of_user(&cluster.redis, "7").await;
        if events.last().is_some_and(|last| last == "user.offline") {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;
    // Connections from other addresses are accepted.
    let mut client = cluster.a().stream().user("7").open().await;
    client.close();
    drop(clients);
    took
}

fn sixteen(request: &StreamRequest) -> Vec<StreamRequest> {
    vec![request.clone().user("7").channel("room:1"); SESSIONS]
}

#[test]
fn a_phone_that_vanishes_while_heartbeats_are_sent_is_gone_in_time() {
    with_a_cable(async |far| {
        let cluster = cluster(Redis::start().await, |node| node).await;
        let requests = sixteen(&cluster.a().stream());
        vanish(far, &cluster, requests, async || ()).await;
        all_timed_out(&cluster.redis).await;
    });
}

async fn all_timed_out(redis: &Redis) {
    let events = lifecycle::of_user(redis, "7").await;
    let ended = events.iter().filter(|event| *event == "session.disconnected peer-timeout").count();
    assert_eq!(ended, SESSIONS, "{events:?}");
}

#[test]
fn a_phone_that_vanishes_over_tls_is_gone_in_time() {
    with_a_cable(async |far| {
        let certificate = Certificate::of(&["localhost", "127.0.0.1", "10.9.0.1"]);
        let cluster = cluster(Redis::start().await, |node| node.tls(&certificate)).await;
        let requests = sixteen(&cluster.a().stream());
        vanish(far, &cluster, requests, async || ()).await;
        all_timed_out(&cluster.redis).await;
    });
}

#[test]
fn a_phone_that_vanishes_with_one_http_2_connection_is_gone_in_time() {
    with_a_cable(async |far| {
        let cluster = cluster(Redis::start().await, |node| node).await;
        let requests = sixteen(&cluster.a().stream().http2(&Http2::clear()));
        vanish(far, &cluster, requests, async || ()).await;
        all_timed_out(&cluster.redis).await;
    });
}

/// The kernel of the client's machine acknowledges all data, so that only the missing replies to PING show it.
#[tokio::test]
async fn an_http_2_client_that_hangs_on_a_machine_that_answers_ends_with_the_reason_peer_timeout() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .set("STREAM__HEARTBEAT", "1s")
        .set("STREAM__WRITE_TIMEOUT", "3s")
        .set("STREAM__PEER_TIMEOUT", "3s")
        .start()
        .await;
    let mut client = Frames::connect(node.address(), &[]).await.unwrap();
    for _ in 0..SESSIONS {
        client.request("GET", "/v1/events?user=7", &[], false).await.unwrap();
    }
    until("the sessions are gone", SOON, async || {
        let events = lifecycle::of_user(&redis, "7").await;
        let ended = events.iter().filter(|event| event.starts_with("session.disconnected")).count();
        if ended == SESSIONS { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    all_timed_out(&redis).await;
    let ended = node.metrics().await.sum("sse_connections_ended_total", &[r#"reason="peer-timeout""#]);
    assert!((ended - f64::from(u32::try_from(SESSIONS).unwrap())).abs() < 0.5, "{ended}");
}

#[test]
fn a_phone_that_vanishes_before_much_is_sent_is_gone_in_time() {
    with_a_cable(async |far| {
        let cluster = cluster(Redis::start().await, |node| node).await;
        let requests = sixteen(&cluster.a().stream());
        let redis = &cluster.redis;
        vanish(far, &cluster, requests, async || {
            // More than the sockets' buffers can ever hold.
            let data = vec!["x".repeat(60_000); 60];
            Publisher::on(redis).await.publish_all("room:1", "big", &data).await;
        })
        .await;
    });
}

/// How many connections with the far side the kernel knows.
fn established() -> usize {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("the table of this namespace");
    // Remote address 10.9.0.2 in the byte order of the machine, state 1.
    table.lines().filter(|line| line.contains(" 0200090A:") && line.contains(" 01 ")).count()
}

#[test]
fn sockets_without_a_stream_whose_peers_vanish_are_closed_in_time() {
    with_a_cable(async |far| {
        let cluster = cluster(Redis::start().await, |node| node.set("HTTP__HEADER_READ_TIMEOUT", "1m")).await;
        let to = cluster.a().address();
        let clients = far.clients(async move || {
            let mut sockets = Vec::new();
            for first in
                ["", "GET /healthz HTTP/1.1\r\nHost: a\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"]
            {
                let mut socket = tokio::net::TcpStream::connect(to).await.expect("it listens");
                tokio::io::AsyncWriteExt::write_all(&mut socket, first.as_bytes()).await.expect("it is open");
                sockets.push(socket);
            }
            sockets
        });
        let becomes = async |wanted: usize| {
            until(&format!("{wanted} sockets"), SOON, async || match established() {
                now if now == wanted => Ok(()),
                now => Err(now),
            })
            .await;
        };
        becomes(3).await;
        far.pull();
        let gone = Instant::now();
        becomes(0).await;
        let took = gone.elapsed();
        assert!(took < PEER_TIMEOUT * 2 + SLACK, "{took:?}");
        drop(clients);
    });
}

#[tokio::test]
async fn a_slow_phone_whose_window_is_closed_is_not_cut_off_before_the_write_time_out() {
    let redis = Redis::start().await;
    let configure = |node: NodeBuilder| {
        node.set("STREAM__HEARTBEAT", "1s")
            .set("STREAM__WRITE_TIMEOUT", "8s")
            .set("STREAM__PEER_TIMEOUT", "8s")
    };
    let node: Node = configure(Node::of(&redis)).start().await;
    // Before the client comes, which would have to wait for all of it with a window that is closed.
    let data: Vec<String> = (0..200).map(|n| format!("{n} {}", "x".repeat(60_000))).collect();
    Publisher::on(&redis).await.publish_all("room:1", "big", &data).await;
    let request = node.stream().user("7").channel("room:1").after("earliest");
    let mut client = request.receive_buffer(64 * 1024).open().await;
    // Several times half as long as allowed and more, and something is taken between: the window is closed nearly always.
    let mut next = data.iter();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        for wanted in next.by_ref().take(40) {
            match client.step(SOON).await {
                Step::Event(event) => assert_eq!(*event.data, **wanted),
                other => panic!("{other:?}"),
            }
        }
    }
    for wanted in next {
        client.expect_data(wanted).await;
    }
    let events = lifecycle::of_user(&redis, "7").await;
    assert_eq!(events, ["session.connected a", "user.online"]);
}
