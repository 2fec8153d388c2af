//! Redis goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfare_testkit::api::Api;
use fanfare_testkit::chaos_proxy::ChaosProxy;
use fanfare_testkit::client::End;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::ledger::Ledger;
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::watcher::Watcher;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often each publisher publishes.
const PACE: Duration = Duration::from_millis(20);
/// How soon everything must be there after Redis is back.
const REPAIRED: Duration = Duration::from_secs(30);

/// Publishes to one channel by HTTP at a steady pace until stopped. What is refused is sent again with its key until
/// it is accepted, so that in the end each event is accepted once.
struct Traffic {
    stop: CancellationToken,
    accepted: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Traffic {
    fn start(api: Api, ledger: Arc<Ledger>, channel: &'static str) -> Self {
        let (accepted, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, turned_away) = (Arc::clone(&accepted), Arc::clone(&refused));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            while !stopped.is_cancelled() {
                let text = ledger.draw(channel);
                ledger.doubt(&text);
                let body = json!({"channel": channel, "type": "numbered", "data": text, "key": text});
                loop {
                    pace.tick().await;
                    let answer = api.post(&body).await.expect("a node always answers");
                    if answer.status == 200 {
                        break;
                    }
                    answer.is_problem(503, "unavailable", &[]).unwrap_or_else(|e| panic!("{e}"));
                    let wait: u64 = answer.header("retry-after").parse().expect("Retry-After in seconds");
                    assert!(wait < 60, "it says when to try again: {wait}");
                    turned_away.fetch_add(1, Ordering::Relaxed);
                }
                ledger.accept(&text);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, accepted, refused, task }
    }

    async fn goes_on(&self) {
        let from = self.accepted.load(Ordering::Relaxed);
        until("ten more events are accepted", REPAIRED, async || {
            let more = self.accepted.load(Ordering::Relaxed) - from;
            if more >= 10 { Ok(()) } else { Err(format!("{more} were")) }
        })
        .await;
    }

    /// Stops after the event in hand, and says how often a publication was refused.
    async fn stop(self) -> usize {
        self.stop.cancel();
        self.task.await.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        self.refused.load(Ordering::Relaxed)
    }
}

/// Two nodes with three streams each, and two publishers.
struct Scene {
    cluster: Cluster,
    ledger: Arc<Ledger>,
    watchers: Vec<Watcher>,
    traffic: Vec<Traffic>,
}

const CHANNELS: [&str; 3] = ["at:a", "at:b", "direct"];

async fn scene() -> Scene {
    scene_on(Redis::durable().await, |node| node).await
}

async fn scene_on(redis: Redis, configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Scene {
    let cluster = Cluster::on(redis, 2, |node| {
        configure(node.keep(100_000).short_lease().set("STREAM__HEARTBEAT", "500ms"))
    })
    .await;
    let ledger = Arc::new(Ledger::default());
    let mut watchers = Vec::new();
    for (n, node) in cluster.nodes.iter().cycle().take(6).enumerate() {
        let client = node.stream().user(&n.to_string()).channels(&CHANNELS).open().await;
        watchers.push(Watcher::start(client, ledger.account(&CHANNELS)));
    }
    let traffic = cluster.nodes.iter().zip(CHANNELS);
    let traffic: Vec<_> =
        traffic.map(|(node, channel)| Traffic::start(node.api(), Arc::clone(&ledger), channel)).collect();
    let scene = Scene { cluster, ledger, watchers, traffic };
    scene.goes_on().await;
    scene
}

impl Scene {
    async fn goes_on(&self) {
        for traffic in &self.traffic {
            traffic.goes_on().await;
        }
    }

    /// Publishers get an error: nothing can be stored now.
    async fn is_refused(&self) {
        for traffic in &self.traffic {
            until("a publication is refused", SOON, async || {
                let refused = traffic.refused.load(Ordering::Relaxed);
                if refused > 0 { Ok(()) } else { Err("none is") }
            })
            .await;
        }
    }

    /// Every stream is the one that was opened in the beginning, and has everything that was accepted.
    async fn finish(self) -> usize {
        let mut refused = 0;
        for traffic in self.traffic {
            refused += traffic.stop().await;
        }
        for watcher in self.watchers {
            let (_, account) = watcher.finish(&self.ledger, REPAIRED).await;
            self.ledger.judge(&account).assert_clean();
        }
        refused
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Outage {
    /// The process is frozen: connections stay open and nothing is answered.
    Frozen,
    /// It stops and starts with its data: connections are refused.
    Restarted,
}

async fn streams_survive(outage: Outage, length: Duration) {
    let mut scene = scene().await;
    match outage {
        Outage::Frozen => scene.cluster.redis.pause(),
        Outage::Restarted => scene.cluster.redis.stop().await,
    }
    let away = tokio::time::Instant::now();
    if length > Duration::from_secs(10) {
        what_is_seen_while_redis_is_away(&scene).await;
    }
    tokio::time::sleep_until(away + length).await;
    match outage {
        Outage::Frozen => scene.cluster.redis.resume(),
        Outage::Restarted => scene.cluster.redis.start_again().await,
    }
    // Published before the nodes have reconnected: it is not delivered live, so it must come from the log.
    let mut publisher = Publisher::on(&scene.cluster.redis).await;
    for _ in 0..20 {
        publisher.issue(&scene.ledger, "direct").await;
    }
    for node in &scene.cluster.nodes {
        node.ready().await;
    }
    scene.goes_on().await;
    assert!(scene.finish().await > 0, "publishers got errors while Redis was away");
}

async fn what_is_seen_while_redis_is_away(scene: &Scene) {
    for node in &scene.cluster.nodes {
        let readiness = node.readyz(503).await;
        assert_eq!(readiness["ready"], false, "{readiness}");
        assert!(
            readiness["parts"]["redis"]["ok"] == false || readiness["parts"]["pubsub"]["ok"] == false,
            "{readiness}"
        );
        let healthy = node.api().get("/healthz").await;
        assert_eq!(healthy.status, 200, "the process itself is well");

        let mut turned_away = node.stream().user("new").send().await;
        assert_eq!(turned_away.status(), 200, "a native EventSource gives up for good on any other");
        assert_eq!(turned_away.expect("overloaded").await.json()["reason"], "unavailable");
        assert_eq!(turned_away.end().await, End::Clean);
        assert!(turned_away.retry().is_some());

        let prefers = node.stream().user("new").header("Prefer", "status").send().await.answer().await;
        prefers.is_problem(503, "unavailable", &[]).unwrap_or_else(|e| panic!("{e}"));
        assert!(!prefers.header("retry-after").is_empty());
    }
    for watcher in &scene.watchers {
        let before = watcher.comments();
        until("heartbeats go on", SOON, async || {
            let came = watcher.comments() - before;
            if came >= 2 { Ok(()) } else { Err(format!("{came} came")) }
        })
        .await;
    }
}

#[tokio::test]
async fn streams_survive_a_redis_frozen_for_3_seconds() {
    streams_survive(Outage::Frozen, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn streams_survive_a_redis_frozen_for_30_seconds() {
    streams_survive(Outage::Frozen, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn streams_survive_a_redis_restarted_after_3_seconds() {
    streams_survive(Outage::Restarted, Duration::from_secs(3)).await;
}

#[tokio::test]
async fn streams_survive_a_redis_restarted_after_30_seconds() {
    streams_survive(Outage::Restarted, Duration::from_secs(30)).await;
}

#[tokio::test]
async fn streams_survive_killed_connections() {
    let scene = scene().await;
    for kind in ["pubsub", "normal"].into_iter().cycle().take(8) {
        // Only what is connected can be killed: wait for the nodes to be back.
        for node in &scene.cluster.nodes {
            node.ready().await;
        }
        until("connections are killed", SOON, async || {
            let killed = scene.cluster.redis.kill_clients(kind).await;
            if killed > 0 { Ok(()) } else { Err("none") }
        })
        .await;
        scene.goes_on().await;
    }
    for node in &scene.cluster.nodes {
        node.ready().await;
    }
    scene.finish().await;
}

#[tokio::test]
async fn events_published_while_a_subscriber_connection_was_down_come_from_the_log_without_any_traffic_after_them()
 {
    let cluster = Cluster::pair().await;
    let ledger = Ledger::default();
    let mut client = cluster.a().stream().user("42").open().await;
    let mut account = ledger.account(&["user:42"]);
    let mut publisher = Publisher::on(&cluster.redis).await;
    for _ in 0..10 {
        cluster.redis.kill_clients("pubsub").await;
        publisher.issue(&ledger, "user:42").await;
        account.follow(&mut client, &ledger, REPAIRED).await;
    }
    ledger.judge(&account).assert_clean();
}

/// Redis answers, but takes no writes.
async fn streams_survive_without_writes(break_it: &[&str], mend_it: &[&str]) {
    let scene = scene().await;
    scene.cluster.redis.get::<String>(break_it).await;
    scene.is_refused().await;
    for node in &scene.cluster.nodes {
        let readiness = node.readyz(503).await;
        assert_eq!(readiness["parts"]["redis"]["ok"], false, "{readiness}");
        assert_eq!(readiness["parts"]["pubsub"]["ok"], true, "what needs no write goes on: {readiness}");
    }
    scene.cluster.redis.get::<String>(mend_it).await;
    for node in &scene.cluster.nodes {
        node.ready().await;
    }
    scene.goes_on().await;
    assert!(scene.finish().await > 0, "publishers got errors");
}

#[tokio::test]
async fn streams_survive_a_redis_out_of_memory() {
    streams_survive_without_writes(
        &["CONFIG", "SET", "maxmemory", "1"],
        &["CONFIG", "SET", "maxmemory", "0"],
    )
    .await;
}

#[tokio::test]
async fn streams_survive_a_redis_that_became_a_read_only_replica() {
    // A replica of an unused address, so it keeps its data.
    streams_survive_without_writes(&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]).await;
}

#[tokio::test]
async fn streams_live_with_a_redis_that_takes_100_ms_for_every_answer() {
    let redis = Redis::durable().await;
    let proxy = ChaosProxy::before(redis.address()).await;
    let scene = scene_on(redis, |node| node.through(&proxy.url())).await;
    proxy.delay(Duration::from_millis(100));
    scene.goes_on().await;
    for node in &scene.cluster.nodes {
        node.ready().await;
        let lost = node.metrics().await.sum("fanfare_pubsub_disconnects_total", &[]);
        assert!(lost < 1.0, "slow is not gone");
    }
    let mut late = scene.cluster.a().stream().user("late").open().await;
    scene.cluster.b().api().publish("user:late", "note", "hello").await;
    late.expect_data("hello").await;
    proxy.resume();
    assert_eq!(scene.finish().await, 0, "nothing was refused");
}
