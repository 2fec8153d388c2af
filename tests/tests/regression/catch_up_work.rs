//! Clients that caught up with large events took Redis over: hundreds of megabytes of log waited there for one node, behind
//! them publishers and leases, and the intake lost its lead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_protocol::Position;
use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::metrics::Metrics;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;

/// The log that clients catch up with: how many events, and how many bytes of data in each.
const EVENTS: usize = 12;
const BYTES: usize = 1 << 20;
const CLIENTS: usize = 12;
/// The most bytes that may wait in Redis for the node: `stream.max_log_read_bytes`, and as much again for what Redis allocates
/// beside an answer.
const ROOM: u64 = 8 << 20;

/// Publishes the log to the channel `room`. Answers with the positions of its events.
async fn fill(publisher: &mut Publisher) -> Vec<Position> {
    let (mut positions, padding) = (Vec::new(), "x".repeat(BYTES - "00 ".len()));
    for number in 0..EVENTS {
        positions.push(publisher.publish("room", "", &format!("{number:02} {padding}")).await);
    }
    positions
}

/// Reads the log from an event on to its end.
async fn read(mut client: Client, first: usize) {
    for number in first..EVENTS {
        let event = client.find(|event| !event.is_control()).await;
        assert!(event.data.starts_with(&format!("{number:02} ")), "each once, in order: {number} is missing");
    }
}

/// Watches how many bytes wait in Redis for the connections of nodes, and remembers the most.
async fn most_waiting(redis: &Redis, finished: Arc<AtomicBool>) -> u64 {
    let mut connection = redis.connection().await.expect("Redis is there");
    let mut most = 0;
    while !finished.load(Ordering::Relaxed) {
        let list: String = redis::cmd("CLIENT")
            .arg("LIST")
            .arg("TYPE")
            .arg("normal")
            .query_async(&mut connection)
            .await
            .expect("the clients");
        let waiting =
            list.split_whitespace().filter_map(|field| field.strip_prefix("omem=")?.parse::<u64>().ok());
        most = most.max(waiting.sum());
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_large_events_do_not_keep_redis_from_publishers_and_leases() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("LIMITS__EVENT_DATA", "1MiB").start().await;
    let mut publisher = Publisher::on(&redis).await;
    let positions = fill(&mut publisher).await;
    until("the node leads the intake", Duration::from_secs(20), async || {
        let leads = node.metrics().await.sum("fanfare_intake_leader", &[]);
        if leads > 0.0 { Ok(()) } else { Err("it does not") }
    })
    .await;
    let taken = |metrics: &Metrics| metrics.sum("fanfare_heartbeats_total", &["outcome=\"taken\""]);
    let before = taken(&node.metrics().await);

    let finished = Arc::new(AtomicBool::new(false));
    let watch = most_waiting(&redis, Arc::clone(&finished));
    let readers = async {
        let mut readers = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let first = client % 4 + 1;
            let after = positions[first - 1].to_string();
            let stream = node.stream().channel("room").after(&after).open().await;
            readers.spawn(read(stream, first));
        }
        // Through the intake, each answered by its event before the next: it goes on while clients read.
        let mut live = node.stream().channel("other").open().await;
        while !readers.is_empty() {
            publisher.ingest(&[("channel", b"other"), ("data", b"tick")]).await.expect("Redis is there");
            live.expect_data("tick").await;
            while let Some(reader) = readers.try_join_next() {
                reader.expect("a client that read everything");
            }
        }
        finished.store(true, Ordering::Relaxed);
    };
    let (most, ()) = tokio::join!(watch, readers);

    assert!(most <= ROOM, "{most} bytes waited in Redis for the node at the same time");
    let metrics = node.metrics().await;
    assert!(taken(&metrics) <= before, "the lease lapsed");
    assert!(metrics.sum("fanfare_intake_lead_lost_total", &[]) < 1.0, "the intake lost its lead");
}

/// The number of channels of a client that comes back.
const CHANNELS: usize = 60;

#[tokio::test]
async fn logs_are_asked_for_their_end_only_while_that_saves_work() {
    let few_at_a_time = |node: NodeBuilder| node.set("STREAM__SHARDS", "1").set("STREAM__MAX_LOG_READS", "4");
    let cluster = Cluster::on(Redis::start().await, 2, few_at_a_time).await;
    let channels: Vec<String> = (0..CHANNELS).map(|n| format!("c{n}")).collect();
    let publish = async |data: &str| {
        for channel in &channels {
            cluster.a().api().publish(channel, "t", data).await;
        }
    };
    let mut request = cluster.a().stream();
    for channel in &channels {
        request = request.channel(channel);
    }
    let mut client = request.open().await;
    publish("seen").await;
    for _ in &channels {
        client.expect_data("seen").await;
    }
    // What a connect asks beside, and what is asked before the reads have shown what they find.
    let few = u64::try_from(CHANNELS / 2).expect("few");

    client.close();
    let (asked, scripts) = (cluster.redis.calls("get").await, cluster.redis.calls("xrange").await);
    client.resume(cluster.b()).await;
    until("each channel was asked for", SOON, async || {
        let asked = cluster.redis.calls("get").await - asked;
        if asked >= CHANNELS as u64 { Ok(()) } else { Err(format!("{asked}")) }
    })
    .await;
    let scripts = cluster.redis.calls("xrange").await - scripts;
    assert!(scripts < few, "nothing was missed, but {scripts} logs were read");

    client.close();
    publish("missed").await;
    let (asked, scripts) = (cluster.redis.calls("get").await, cluster.redis.calls("evalsha").await);
    client.resume(cluster.a()).await;
    for _ in &channels {
        client.expect_data("missed").await;
    }
    let asked = cluster.redis.calls("get").await - asked;
    assert!(asked < few, "each channel has an event, but {asked} were asked for their end first");
    let scripts = cluster.redis.calls("evalsha").await - scripts;
    assert!(scripts < few, "each channel has one event, but {scripts} scripts were called");
}

/// Number of streams that are opened.
const STREAMS: u64 = 100;

#[tokio::test]
async fn a_stream_of_which_nothing_was_missed_costs_few_commands() {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node).await;
    let commands = async || {
        let (get, exists) = (cluster.redis.calls("get").await, cluster.redis.calls("exists").await);
        get + exists + cluster.redis.calls("time").await
    };
    let _first = cluster.a().stream().user("first").open().await;
    let before = commands().await;
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        streams.push(cluster.a().stream().user(&format!("user-{number}")).open().await);
    }
    // One to find the newest event and one for the time, both in the claim, and one after the subscription. The rest is for the
    // time once a second, and for leases.
    let all = commands().await - before;
    assert!(all * 10 < STREAMS * 36, "{all} commands for {STREAMS} streams");
}
