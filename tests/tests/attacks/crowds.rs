//! Thousands of clients that are slow, silent or gone at once. The node stays within its memory, probes are answered, and a
//! victim's stream goes on.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use fanfare_testkit::client::Client;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::frames::{Frames, INITIAL_WINDOW};
use fanfare_testkit::metrics::Metrics;
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::tcp;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const CROWD: usize = 2000;
/// `limits.memory`, and what a node takes beside it.
const BOUND: u64 = (256 + 64) << 20;

/// One of the addresses that the crowd comes from: each has its share of the sockets.
fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 66, u8::try_from(1 + n % 4).unwrap())
}

async fn connect(to: SocketAddr, n: usize) -> Option<TcpStream> {
    tcp::connect(to, Some(address(n)), Some(4096)).await.ok()
}

/// What must hold whatever the crowd does.
async fn others_do_not_notice(node: &Node, victim: &mut Client) {
    for n in 0..10 {
        let begun = Instant::now();
        assert_eq!(node.api().get("/healthz").await.status, 200);
        // The kubelet kills a pod after three probes of five seconds.
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        node.api().publish("user:7", "note", &n.to_string()).await;
        victim.expect_data(&n.to_string()).await;
    }
    let peak = node.peak_memory();
    assert!(peak < BOUND, "{} MiB", peak >> 20);
}

/// All that came of so many attempts, made side by side.
async fn crowd<T: Send + 'static, F>(count: usize, one: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = Option<T>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    for n in 0..count {
        attempts.spawn(one(n));
    }
    attempts.join_all().await.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_that_dribble_heads_and_bodies_do_no_harm() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut victim = node.stream().user("7").open().await;
    let to = node.address();
    let mut dribbling = crowd(CROWD, |n| async move {
        let mut socket = connect(to, n).await?;
        let text = if n % 2 == 0 {
            format!("GET /v1/events HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(30_000))
        } else {
            let length = 8 << 20;
            format!(
                "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\
                 \r\n\r\n[{}",
                " ".repeat(100_000)
            )
        };
        let _ = timeout(SOON, socket.write_all(text.as_bytes())).await;
        Some(socket)
    })
    .await;
    for _ in 0..3 {
        for socket in &mut dribbling {
            let _ = socket.try_write(b" ");
        }
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
        Node::of(&redis).set("LIMITS__MEMORY", "64MiB").set("LIMITS__BATCH_BYTES", "2MiB").start().await;
    let mut victim = node.stream().user("7").open().await;
    let to = node.address();
    let streams = crowd(CROWD, |n| async move {
        let mut socket = connect(to, n).await?;
        socket.write_all(b"GET /v1/events?channel=busy HTTP/1.1\r\nHost: a\r\n\r\n").await.ok()?;
        Some(socket)
    })
    .await;
    let open = f64::from(u32::try_from(streams.len() + 1).unwrap());
    until("all are open", 3 * SOON, async || {
        let now = node.streams().await;
        if (now - open).abs() < 0.5 { Ok(()) } else { Err(format!("{now} of {open}")) }
    })
    .await;
    for n in 0..100 {
        node.api().publish("busy", "note", &n.to_string().repeat(15_000)).await;
    }
    others_do_not_notice(&node, &mut victim).await;
    let queues = node.metrics().await.sum("fanfare_memory_bytes", &["kind=\"queues\""]);
    // The quarter, and an event more for each.
    assert!(queues > 0.0 && queues < f64::from(16 << 20) + open * 45_000.0, "{queues} bytes");
    assert!((node.streams().await - open).abs() < 0.5, "none is closed for memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_with_windows_of_nothing_do_no_harm() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut victim = node.stream().user("7").open().await;
    let to = node.address();
    let clients = crowd(CROWD, |n| async move {
        let mut client = Frames::connect_from(to, Some(address(n)), &[(INITIAL_WINDOW, 0)]).await.ok()?;
        for _ in 0..8 {
            client.request("GET", "/metrics", &[], false).await.ok()?;
        }
        Some(client)
    })
    .await;
    until("their answers are held, and more are refused", SOON, async || {
        let answer = node.api().get("/metrics").await;
        if answer.status == 503 {
            return Ok(());
        }
        let held = Metrics::parse(&answer.text).sum("fanfare_memory_bytes", &["kind=\"answers\""]);
        if held > 3e7 { Ok(()) } else { Err(format!("{held} bytes held")) }
    })
    .await;
    others_do_not_notice(&node, &mut victim).await;
    drop(clients);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connects_from_one_address_does_no_harm() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut victim = node.stream().user("7").open().await;
    let to = node.address();
    let flood = tokio::spawn(async move {
        let mut kept = Vec::new();
        for _ in 0..3 {
            kept = crowd(CROWD, |_| connect(to, 0)).await;
        }
        kept
    });
    while !flood.is_finished() {
        others_do_not_notice(&node, &mut victim).await;
    }
    let metrics = node.metrics().await;
    let turned =
        metrics.sum("fanfare_sockets_evicted_total", &[]) + metrics.sum("fanfare_sockets_refused_total", &[]);
    assert!(turned >= 900.0, "{turned}");
    let kept = flood.await.unwrap();
    assert!(!kept.is_empty());
    others_do_not_notice(&node, &mut victim).await;
}
