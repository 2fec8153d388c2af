//! Catching up read up to 96 times what it delivered: pages were bounded by number, queues by bytes, and what did not
//! fit was thrown away and read again.

use std::time::Duration;

use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;

/// The most bytes that Redis may send for each byte that clients get.
const FACTOR: f64 = 1.5;

async fn filled(size: usize, events: usize) -> Cluster {
    let cluster = Cluster::on(Redis::start().await, 1, |node| node.set("LIMITS__EVENT_DATA", "1MiB")).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    for batch in (0..events).collect::<Vec<_>>().chunks(50) {
        let data: Vec<String> = batch.iter().map(|n| format!("{n:06} {}", "x".repeat(size - 7))).collect();
        publisher.publish_all("room", "n", &data).await;
    }
    cluster
}

/// Reads to the last event and tells how many bytes their blocks have, each event once and in order.
async fn read_all(client: &mut Client, first: usize, events: usize) -> usize {
    let mut bytes = 0;
    for n in first..events {
        let event = client.expect("n").await;
        assert!(event.data.starts_with(&format!("{n:06} ")), "event {n}: {}", &event.data[..20]);
        bytes += "id: \nevent: n\ndata: \n\n".len() + event.last_id.len() + event.data.len();
    }
    bytes
}

/// What Redis sent while `work` ran, for each byte of data that it delivered.
async fn factor(cluster: &Cluster, work: impl Future<Output = usize>) -> f64 {
    let before: f64 = cluster.redis.info("total_net_output_bytes").await;
    let delivered = work.await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let delivered = delivered as f64;
    (cluster.redis.info("total_net_output_bytes").await - before) / delivered
}

#[tokio::test]
async fn a_client_that_catches_up_costs_redis_what_it_gets_whatever_the_size_of_events() {
    for (size, events) in [(100, 900), (1000, 900), (16_000, 200), (64_000, 60), (1 << 20, 6)] {
        let cluster = filled(size, events).await;
        for gzip in [false, true] {
            let request = cluster.a().stream().channel("room").after("earliest");
            let request = if gzip { request.gzip() } else { request };
            let reading = async {
                let mut client = request.open().await;
                read_all(&mut client, 0, events).await
            };
            let factor = Box::pin(factor(&cluster, reading)).await;
            assert!(factor <= FACTOR, "events of {size} bytes, gzip {gzip}: factor {factor:.2}");
        }
    }
}

#[tokio::test]
async fn many_clients_at_different_places_and_slow_ones_cost_what_they_get() {
    let (size, events) = (20_000, 100);
    let cluster = filled(size, events).await;
    let page = cluster.a().api().get("/v1/channels/room/events?limit=100").await;
    let page: serde_json::Value = serde_json::from_str(&page.text).unwrap();
    let at = |n: usize| page["events"][n]["id"].as_str().unwrap().to_owned();
    let positions: Vec<String> = (0..20).map(at).collect();
    let reading = async {
        let clients = positions.iter().enumerate().map(|(n, position)| {
            let request = cluster.a().stream().channel("room").header("Last-Event-ID", position);
            let request = if n % 2 == 0 { request.receive_buffer(4096) } else { request };
            async move { (n, request.open().await) }
        });
        let clients = futures_util::future::join_all(clients).await;
        let (slow, quick): (Vec<_>, Vec<_>) = clients.into_iter().partition(|(n, _)| n % 2 == 0);
        let read = |clients: Vec<(usize, Client)>| {
            let each =
                clients.into_iter().map(async |(n, mut client)| read_all(&mut client, n + 1, events).await);
            futures_util::future::join_all(each)
        };
        let quick: usize = read(quick).await.into_iter().sum();
        // Only slow ones have queues then, which are full, and they read on from there.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let queued = (slow.len() * size) as f64;
        until("slow clients have full queues", SOON, async || {
            match cluster.a().metrics().await.sum("fanfare_memory_bytes", &[r#"kind="queues""#]) {
                found if found >= queued => Ok(()),
                found => Err(format!("{found} of {queued} bytes")),
            }
        })
        .await;
        quick + read(slow).await.into_iter().sum::<usize>()
    };
    let factor = Box::pin(factor(&cluster, reading)).await;
    assert!(factor <= FACTOR, "factor {factor:.2}");
}

#[tokio::test]
async fn publishing_and_leases_do_not_wait_for_streams_that_catch_up_on_the_largest_events() {
    let events = 8;
    let cluster = filled(1 << 20, events).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(cluster.a().stream().channel("room").after("earliest").open().await);
    }
    let mut waits = Vec::new();
    for n in 0..50 {
        let begun = std::time::Instant::now();
        publisher.publish("other", "n", &n.to_string()).await;
        waits.push(begun.elapsed());
    }
    waits.sort();
    assert!(waits[25] < Duration::from_millis(150), "{waits:?}");
    for client in &mut clients {
        read_all(client, 0, events).await;
    }
    let metrics = cluster.a().metrics().await;
    assert!(metrics.sum("fanfare_log_reads_failed_total", &[]) < 1.0);
}

#[tokio::test]
async fn history_is_bounded_in_bytes_and_leads_through_the_log() {
    let events = 12;
    let cluster = filled(400_000, events).await;
    let (mut after, mut seen, mut calls) = ("earliest".to_owned(), 0, 0);
    loop {
        let path = format!("/v1/channels/room/events?limit=1000&after={after}");
        let answer = cluster.a().api().get(&path).await;
        assert!(answer.text.len() < 2 << 20, "{} bytes", answer.text.len());
        let page: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        for event in page["events"].as_array().unwrap() {
            assert!(event["data"].as_str().unwrap().starts_with(&format!("{seen:06} ")));
            seen += 1;
        }
        assert_eq!(page["gap"], false);
        after = page["next"].as_str().unwrap().to_owned();
        calls += 1;
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, events);
    assert!(calls > 3, "{calls}");
}
