//! Thousands of clients that are slow, silent or gone at once. The node stays within its memory, probes are answered, and a
//! victim's stream goes on. How much later others get their events is measured by `examples/crowd.rs`.

use fanfare_testkit::client::Client;
use fanfare_testkit::crowd::{Crowd, fill_queues};
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::metrics::Metrics;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

const CROWD: usize = 2000;
/// `limits.memory`, which is all that the process may take.
const BOUND: u64 = 256 << 20;

/// What must hold whatever the crowd does.
async fn others_do_not_notice(node: &Node, victim: &mut Client) {
    for n in 0..10 {
        assert_eq!(node.api().get("/healthz").await.status, 200);
        node.api().publish("user:7", "note", &n.to_string()).await;
        victim.expect_data(&n.to_string()).await;
    }
    is_within_memory(node);
}

fn is_within_memory(node: &Node) {
    let peak = node.peak_memory();
    assert!(peak < BOUND, "{} MiB", peak >> 20);
}

/// Waits until answers are held, so that more are refused.
async fn answers_are_held(node: &Node) {
    until("their answers are held, and more are refused", SOON, async || {
        let answer = node.api().get("/metrics").await;
        if answer.status == 503 {
            return Ok(());
        }
        let held = Metrics::parse(&answer.text).sum("fanfare_memory_bytes", &["kind=\"responses\""]);
        if held > 1.5e7 { Ok(()) } else { Err(format!("{held} bytes held")) }
    })
    .await;
}

/// How many sockets found no room, or made room for others.
async fn turned_away(node: &Node) -> f64 {
    let metrics = node.metrics().await;
    metrics.sum("fanfare_sockets_evicted_total", &[]) + metrics.sum("fanfare_sockets_refused_total", &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_that_dribble_heads_and_bodies_do_no_harm() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut victim = node.stream().user("7").open().await;
    let _crowd = Crowd::Dribbling.raise(node.address(), CROWD).await;
    for _ in 0..3 {
        others_do_not_notice(&node, &mut victim).await;
    }
    let metrics = node.metrics().await;
    let counted = metrics.sum("fanfare_memory_refused_total", &[]) + metrics.sum("fanfare_memory_bytes", &[]);
    assert!(counted > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_streams_that_are_never_read_stay_open_and_shrink_their_queues() {
    let redis = Redis::start().await;
    let node =
        Node::of(&redis).set("LIMITS__MEMORY", "96MiB").set("LIMITS__BATCH_BYTES", "2MiB").start().await;
    let mut victim = node.stream().user("7").open().await;
    let crowd = Crowd::NeverReading.raise(node.address(), CROWD).await;
    let open = f64::from(u32::try_from(crowd.members + 1).unwrap());
    until("all are open", 3 * SOON, async || {
        let now = node.streams().await;
        if (now - open).abs() < 0.5 { Ok(()) } else { Err(format!("{now} of {open}")) }
    })
    .await;
    fill_queues(&node.api(), 100).await;
    others_do_not_notice(&node, &mut victim).await;
    let queues = node.metrics().await.sum("fanfare_memory_bytes", &["kind=\"queues\""]);
    // The eighth of what is for clients, and an event more for each.
    assert!(queues > 0.0 && queues < f64::from(8 << 20) + open * 45_000.0, "{queues} bytes");
    assert!((node.streams().await - open).abs() < 0.5, "none is closed for memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_with_windows_of_nothing_do_no_harm() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut victim = node.stream().user("7").open().await;
    let _crowd = Crowd::ZeroWindows.raise(node.address(), CROWD).await;
    answers_are_held(&node).await;
    others_do_not_notice(&node, &mut victim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connects_from_one_address_does_no_harm() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut victim = node.stream().user("7").open().await;
    let _crowd = Crowd::Connects.raise(node.address(), CROWD).await;
    until("the address has used up its sockets", 3 * SOON, async || {
        others_do_not_notice(&node, &mut victim).await;
        let turned = turned_away(&node).await;
        if turned >= 100.0 { Ok(()) } else { Err(format!("{turned} turned away")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events_from_one_address_does_no_harm() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("LIMITS__ADDRESS__EVENTS_PER_SECOND", "200").admin().start().await;
    let mut victim = node.stream().user("7").open().await;
    let _crowd = Crowd::Publishes.raise(node.address(), CROWD).await;
    until("the address is limited", SOON, async || {
        others_do_not_notice(&node, &mut victim).await;
        let labels = ["scope=\"address\"", "kind=\"events\""];
        let limited = node.metrics().await.sum("fanfare_rate_limited_total", &labels);
        if limited >= 100.0 { Ok(()) } else { Err(format!("{limited} refused")) }
    })
    .await;
}

/// Those that hold memory fill each part of it together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowds_together_do_not_pass_the_nodes_memory() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).admin().start().await;
    let mut victim = node.stream().user("7").open().await;
    let mut crowds = vec![Crowd::NeverReading.raise(node.address(), CROWD / 2).await];
    until("all streams are open", 3 * SOON, async || {
        let open = node.streams().await;
        if open >= 1000.0 { Ok(()) } else { Err(format!("{open}")) }
    })
    .await;
    fill_queues(&node.api(), 100).await;
    for crowd in [Crowd::Dribbling, Crowd::ZeroWindows] {
        crowds.push(crowd.raise(node.address(), CROWD).await);
        others_do_not_notice(&node, &mut victim).await;
    }
    until("sockets are turned away", 3 * SOON, async || {
        others_do_not_notice(&node, &mut victim).await;
        let turned = turned_away(&node).await;
        if turned >= 100.0 { Ok(()) } else { Err(format!("{turned} turned away")) }
    })
    .await;
}
