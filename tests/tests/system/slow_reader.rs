//! A client that stops reading.

use std::time::{Duration, Instant};

use fanfare_testkit::client::{Client, Received};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::until;
use fanfare_testkit::ledger::Ledger;
use fanfare_testkit::publisher::{Publisher, log_key};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::watcher::Watcher;

const EVENTS: usize = 100_000;
const BATCH: usize = 250;
/// How far the publisher runs ahead of the client that reads: not so far that a short log is trimmed before it.
const AHEAD: usize = BATCH;
/// How much memory the node may take for all that: its queue of 64 KiB, its inboxes of 4 MiB, pages and windows.
const ROOM: u64 = 8 << 20;
/// How long all of it may take to arrive in a debug build.
const PATIENCE: Duration = Duration::from_mins(2);

/// One node, 100,000 events of 1 KB, a client that reads none of them, another that reads them all, and a third on a
/// quiet channel. Gives back the first client, still asleep, and the ledger.
async fn flood(keep: usize) -> (Cluster, Ledger, Client) {
    let cluster = Cluster::on(Redis::start().await, 1, |node| {
        node.keep(keep)
            .set("STREAM__QUEUE", "64KiB")
            .set("STREAM__SHARD_QUEUE", "4MiB")
            .set("STREAM__WRITE_TIMEOUT", "10m")
            .set("STREAM__PEER_TIMEOUT", "10m")
    })
    .await;
    let ledger = Ledger::default();
    let mut publisher = Publisher::on(&cluster.redis).await;
    let asleep = cluster.a().stream().user("slow").channel("flood").receive_buffer(4096).open().await;
    let reader = cluster.a().stream().user("fast").channel("flood").open().await;
    let reader = Watcher::start(reader, ledger.account(&["flood"]));
    let mut quiet = cluster.a().stream().user("quiet").open().await;

    cluster.a().forget_peak();
    let before = cluster.a().memory();
    let padding = "x".repeat(1000);
    let mut waits = Vec::new();
    for batch in 1..=EVENTS / BATCH {
        let texts: Vec<String> = (0..BATCH).map(|_| ledger.draw("flood")).collect();
        let data: Vec<String> = texts.iter().map(|text| format!("{text} {padding}")).collect();
        publisher.publish_all("flood", "numbered", &data).await;
        for text in &texts {
            ledger.accept(text);
        }
        let published = Instant::now();
        publisher.publish("user:quiet", "tick", &batch.to_string()).await;
        waits.push(quiet.expect_data(&batch.to_string()).await.at.duration_since(published));
        until("the client that reads keeps up", PATIENCE, async || {
            let behind = (batch * BATCH).saturating_sub(reader.count());
            if behind <= AHEAD { Ok(()) } else { Err(format!("{behind} behind")) }
        })
        .await;
    }
    let (_, account) = reader.finish(&ledger, PATIENCE).await;
    ledger.judge(&account).assert_clean();
    waits.sort();
    let median = waits[waits.len() / 2];
    assert!(
        median < Duration::from_millis(250),
        "the quiet client waited {median:?}, at most {:?}",
        waits.last()
    );
    let taken = cluster.a().peak_memory().saturating_sub(before);
    assert!(taken < ROOM, "the node took {} KiB more", taken / 1024);
    assert!(asleep.received().len() == 1, "it did not read meanwhile");
    (cluster, ledger, asleep)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_costs_its_queue_and_gets_everything_later() {
    let (_cluster, ledger, mut client) = flood(2 * EVENTS).await;
    let mut account = ledger.account_after(&["flood"], &[]);
    account.follow(&mut client, &ledger, PATIENCE).await;
    ledger.judge(&account).assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_slept_past_the_end_of_the_log_gets_a_gap_and_what_is_kept() {
    let (cluster, _ledger, mut client) = flood(1000).await;
    let kept: Vec<String> =
        cluster.redis.stream(&log_key("flood")).await.into_iter().map(|(id, _)| id).collect();
    assert!(kept.len() >= 1000 && kept.len() < EVENTS, "{} are kept", kept.len());

    // Before the gap: what had left the node already, without a hole. Behind it: all that is kept.
    let mut got = vec![0];
    let mut gaps: Vec<Received> = Vec::new();
    let mut after_gap = 0;
    while got.last() != Some(&EVENTS) {
        let event = client.next().await;
        if event.kind == "gap" {
            gaps.push(event);
            after_gap = got.len();
        } else {
            let number = event.data.split(' ').next().and_then(|text| text.rsplit('#').next()?.parse().ok());
            got.push(number.expect("a numbered event"));
        }
    }
    assert_eq!(gaps.len(), 1, "one gap is one loss: {gaps:?}");
    assert_eq!(gaps[0].json()["channel"], "flood");
    let without_hole = |numbers: &[usize]| numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let (before, after) = got.split_at(after_gap);
    assert!(without_hole(before) && without_hole(after), "a hole that is no gap");
    assert_eq!(after.len(), kept.len(), "it begins at the oldest event kept");
    assert!(after[0] > before[before.len() - 1] + 1, "the gap stands for events that were lost");
}
