//! Whatever ends a connection frees everything.

use std::net::Ipv4Addr;
use std::time::Duration;

use fanfare_testkit::client::{Client, End};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::footprint::Footprint;
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::token::Token;

/// A node without streams, and what it takes up then.
struct Scene {
    cluster: Cluster,
    nothing: Footprint,
}

async fn scene(configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Scene {
    let configure = |node: NodeBuilder| configure(node.set("STREAM__UNSUBSCRIBE_DELAY", "100ms"));
    let cluster = Cluster::on(Redis::start().await, 1, configure).await;
    let nothing = Footprint::of(&cluster.nodes, &cluster.redis).await;
    Scene { cluster, nothing }
}

impl Scene {
    fn stream(&self) -> StreamRequest {
        self.cluster.a().stream().user("42").channel("room:1").channel("room:2")
    }

    async fn is_reported(&self, reason: &str) {
        let end = format!("session.disconnected {reason}");
        lifecycle::tells(
            &self.cluster.redis,
            "42",
            &["session.connected a", "user.online", &end, "user.offline"],
        )
        .await;
    }

    async fn is_freed(&self) {
        until("everything is freed", SOON, async || {
            let now = Footprint::of(&self.cluster.nodes, &self.cluster.redis).await;
            let difference = self.nothing.difference(&now);
            if difference.is_empty() { Ok(()) } else { Err(difference) }
        })
        .await;
    }

    async fn is_over(&self, reason: &str) {
        self.is_reported(reason).await;
        self.is_freed().await;
    }
}

/// The stream says why it ends, tells its own retry, and ends cleanly.
async fn says(client: &mut Client, kind: &str, reason: Option<&str>) {
    let event = client.expect(kind).await;
    if let Some(reason) = reason {
        assert_eq!(event.json()["reason"], reason);
    }
    assert!(event.has_id, "each event has the cursor");
    assert_eq!(client.end().await, End::Clean);
}

#[tokio::test]
async fn a_client_that_closes_frees_everything() {
    let scene = scene(|node| node).await;
    let mut client = scene.stream().open().await;
    client.close();
    scene.is_over("closed").await;
}

#[tokio::test]
async fn a_connection_that_breaks_frees_everything() {
    let scene = scene(|node| node).await;
    let mut client = scene.stream().open().await;
    client.reset();
    scene.is_over("closed").await;
}

#[tokio::test]
async fn a_client_that_leaves_before_it_has_read_the_head_frees_everything() {
    let scene = scene(|node| node).await;
    for _ in 0..20 {
        let client = scene.stream().send().await;
        drop(client);
    }
    until("no user is online", SOON, async || {
        let events = lifecycle::of_user(&scene.cluster.redis, "42").await;
        if events.last().is_some_and(|last| last == "user.offline") {
            Ok(())
        } else {
            Err(format!("{events:?}"))
        }
    })
    .await;
    scene.is_freed().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_too_long_is_cut_off() {
    let scene = scene(|node| node.set("STREAM__WRITE_TIMEOUT", "1s")).await;
    let client = scene.stream().receive_buffer(4096).open().await;
    // More than the sockets' buffers can ever hold.
    let data = vec!["x".repeat(60_000); 50];
    let mut publisher = Publisher::on(&scene.cluster.redis).await;
    for _ in 0..5 {
        publisher.publish_all("room:1", "big", &data).await;
    }
    scene.is_over("write-timeout").await;
    drop(client);
}

#[tokio::test]
async fn a_stream_without_events_ends_at_the_idle_limit() {
    let scene = scene(|node| node.set("STREAM__IDLE_TIMEOUT", "1s").set("STREAM__HEARTBEAT", "200ms")).await;
    let mut client = scene.stream().open().await;
    says(&mut client, "expired", Some("idle")).await;
    assert!(client.comments() > 0, "heartbeats do not count as events");
    scene.is_over("idle").await;
}

#[tokio::test]
async fn a_stream_ends_at_its_age_limit() {
    let scene = scene(|node| node.set("STREAM__MAX_AGE", "1s")).await;
    let mut client = scene.stream().open().await;
    let mut publisher = Publisher::on(&scene.cluster.redis).await;
    publisher.publish("room:1", "t", "x").await;
    client.expect_data("x").await;
    says(&mut client, "expired", Some("age")).await;
    scene.is_over("age").await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let scene = scene(|node| node.auth("jwt")).await;
    let token = Token::of("42").subscribe(&["room:*"]).expires_in(Duration::from_secs(2)).sign();
    let request = scene.cluster.a().stream().channel("room:1").token(&token);
    let mut client = request.clone().open().await;
    says(&mut client, "expired", Some("token")).await;
    scene.is_over("expired").await;
    let refused = request.send().await.answer().await;
    refused.is_problem(401, "expired-token", &["expired"]).unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_disconnect_call_ends_one_session_or_all() {
    let scene = scene(|node| node).await;
    let (mut one, mut other) = (scene.stream().open().await, scene.stream().open().await);
    let api = scene.cluster.a().api();
    let answer = api.delete(&format!("/v1/users/42/sessions/{}", one.session())).await;
    assert_eq!((answer.status, answer.json()["disconnected"].as_u64()), (200, Some(1)));
    says(&mut one, "disconnected", None).await;
    Publisher::on(&scene.cluster.redis).await.publish("room:1", "t", "x").await;
    other.expect_data("x").await;
    let answer = api.delete("/v1/users/42/sessions").await;
    assert_eq!((answer.status, answer.json()["disconnected"].as_u64()), (200, Some(1)));
    says(&mut other, "disconnected", None).await;
    scene.is_freed().await;
    let events = lifecycle::of_user(&scene.cluster.redis, "42").await;
    let ended = events.iter().filter(|event| *event == "session.disconnected disconnected").count();
    assert_eq!((ended, events.last().map(String::as_str)), (2, Some("user.offline")), "{events:?}");
    api.delete(&format!("/v1/users/42/sessions/{}", one.session()))
        .await
        .is_problem(404, "not-found", &[])
        .unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_disconnect_call_reaches_whichever_node_holds_the_session() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").open().await;
    let answer = cluster.b().api().delete(&format!("/v1/users/42/sessions/{}", client.session())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    says(&mut client, "disconnected", None).await;
}

#[tokio::test]
async fn a_node_that_gets_sigterm_ends_its_streams_and_leaves_nothing_behind() {
    let mut scene = scene(|node| node).await;
    let mut client = scene.stream().open().await;
    scene.cluster.a().terminate();
    let event = client.expect("shutdown").await;
    assert_eq!(event.json()["node"], "a");
    assert_eq!(client.end().await, End::Clean);
    assert!(scene.cluster.nodes[0].ended(SOON).await.success(), "exit code 0");
    scene.is_reported("shutdown").await;
    assert_eq!(scene.cluster.redis.keys("fanfare:*sessions").await, Vec::<String>::new());
    assert_eq!(scene.cluster.redis.keys("fanfare:node:a").await, Vec::<String>::new());
}

/// How many clients come and go at once.
const ABREAST: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_10_000_connects_and_drops_nothing_is_left() {
    let configure = |node: NodeBuilder| node.set("STREAM__UNSUBSCRIBE_DELAY", "100ms");
    let cluster = Cluster::on(Redis::start().await, 2, configure).await;
    let nothing = Footprint::of(&cluster.nodes, &cluster.redis).await;
    let come_and_go = async |first: usize, count: usize| {
        let lanes = (0..ABREAST).map(async |lane| {
            for n in (first + lane..first + count).step_by(ABREAST) {
                come_and_go(cluster.nodes[n % 2].stream(), n).await;
            }
        });
        futures_util::future::join_all(lanes).await;
    };
    let is_freed = async || {
        until("everything is freed", Duration::from_mins(1), async || {
            let difference = nothing.difference(&Footprint::of(&cluster.nodes, &cluster.redis).await);
            if difference.is_empty() { Ok(()) } else { Err(difference) }
        })
        .await;
    };
    // The first ones make the allocator's and the runtime's room; the others must fit into it.
    come_and_go(0, 2000).await;
    is_freed().await;
    let before: Vec<_> = cluster.nodes.iter().map(|node| (node.memory(), node.open_files())).collect();
    come_and_go(2000, 8000).await;
    is_freed().await;
    for (node, (memory, files)) in cluster.nodes.iter().zip(before) {
        let grown = node.memory().saturating_sub(memory);
        assert!(grown < 8 << 20, "{} grew by {} KiB over 8,000 connects", node.id(), grown / 1024);
        until("sockets are closed", SOON, async || {
            let now = node.open_files();
            if now <= files + 2 { Ok(()) } else { Err(format!("{now} instead of {files}")) }
        })
        .await;
    }
}

/// One of many clients: the way it leaves, its user and its channels depend on its number.
async fn come_and_go(request: StreamRequest, n: usize) {
    // A few addresses: each has source ports of its own, and those of closed connections rest for a minute.
    let from = Ipv4Addr::new(127, 0, 0, u8::try_from(2 + n % 8).unwrap_or(2));
    let request = request.from(from).user(&(n % 500).to_string()).channel(&format!("room:{}", n % 97));
    let mut client = request.send().await;
    match n % 4 {
        0 => client.close(),
        1 => client.reset(),
        2 => {
            client.connected().await;
            client.close();
        }
        _ => {
            client.connected().await;
            client.reset();
        }
    }
}
