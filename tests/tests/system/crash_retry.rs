//! The `retry:` of clients, which decides how soon they come back from a crash, follows the cluster.

use std::time::Duration;

use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::until;
use fanfare_testkit::redis::Redis;

/// `retry:` of a client of a small cluster, by the default settings.
const SMALL: std::ops::RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_millis(750);
const STREAMS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);

fn retry(client: &Client) -> Duration {
    client.retry().expect("each stream has one")
}

/// Publishes an event and returns after every client has it.
async fn tick(cluster: &Cluster, clients: &mut [Client]) {
    cluster.a().api().publish("room", "tick", "x").await;
    for client in clients {
        client.expect("tick").await;
    }
}

#[tokio::test]
async fn open_streams_are_told_how_long_the_other_nodes_need_to_take_them() {
    // The other node takes eight streams a second, since its own clients connect, too: sixteen take two seconds.
    let cluster =
        Cluster::on(Redis::start().await, 2, |node| node.set("LIMITS__CONNECTS_PER_SECOND", "16")).await;
    let mut clients = Vec::new();
    for _ in 0..STREAMS {
        clients.push(cluster.a().stream().channel("room").open().await);
    }
    assert!(SMALL.contains(&retry(&clients[0])), "{:?}", retry(&clients[0]));
    until("the streams are told", PATIENCE, async || {
        tick(&cluster, &mut clients).await;
        let retries: Vec<_> = clients.iter().map(retry).collect();
        if retries.iter().any(|retry| !SMALL.contains(retry)) { Ok(()) } else { Err(format!("{retries:?}")) }
    })
    .await;
    let mut retries: Vec<_> = clients.iter().map(retry).collect();
    retries.sort();
    assert!(retries[STREAMS - 1] <= Duration::from_millis(2250), "{retries:?}");
    retries.dedup();
    assert!(retries.len() > STREAMS / 2, "each has its own: {retries:?}");

    // A small node again.
    clients.sort_by_key(retry);
    let mut last = clients.split_off(STREAMS - 1);
    drop(clients);
    until("it is short again", PATIENCE, async || {
        tick(&cluster, &mut last).await;
        let retry = retry(&last[0]);
        if SMALL.contains(&retry) { Ok(()) } else { Err(format!("{retry:?}")) }
    })
    .await;
}
