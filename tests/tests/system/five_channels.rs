//! Reconnecting at every possible point.

use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::SOON;
use fanfare_testkit::ledger::{Account, Ledger};
use fanfare_testkit::publisher::Publisher;

const ROOMS: [&str; 5] = ["room:1", "room:2", "room:3", "room:4", "room:5"];

/// What a client with these rooms follows.
fn followed(rooms: &[&'static str]) -> Vec<&'static str> {
    [&["user:42", "broadcast"], rooms].concat()
}

/// A client that followed the five rooms from the start, and the cursors it had: before the first event and after
/// each.
struct Run {
    cluster: Cluster,
    ledger: Ledger,
    publisher: Publisher,
    client: Client,
    cursors: Vec<String>,
}

/// Publishes so many events to the rooms and beyond, in an order drawn from a fixed seed.
async fn run(events: usize) -> Run {
    let cluster = Cluster::pair().await;
    let ledger = Ledger::default();
    let mut publisher = Publisher::on(&cluster.redis).await;
    let all = followed(&ROOMS);
    let mut account = ledger.account(&all);
    let mut client = cluster.a().stream().user("42").channels(&ROOMS).open().await;
    let mut draw = fastrand::Rng::with_seed(3);
    for _ in 0..events {
        publisher.issue(&ledger, draw.choice(&all).expect("some channels")).await;
    }
    account.follow(&mut client, &ledger, SOON).await;
    ledger.judge(&account).assert_clean();
    let cursors = client.received().iter().map(|event| event.last_id.clone()).collect();
    Run { cluster, ledger, publisher, client, cursors }
}

/// Reads what is due, and one more event from each channel, so that anything too many would show.
async fn check(run: &mut Run, client: &mut Client, mut account: Account, channels: &[&str]) {
    account.follow(client, &run.ledger, SOON).await;
    for channel in channels {
        run.publisher.issue(&run.ledger, channel).await;
    }
    account.follow(client, &run.ledger, SOON).await;
    run.ledger.judge(&account).assert_clean();
}

#[tokio::test]
async fn a_client_on_five_channels_may_reconnect_at_every_point_on_either_node() {
    let mut run = run(40).await;
    // The first block is the point before any event: `connected` is the first thing received.
    for point in 0..run.cursors.len() {
        let account = run.ledger.account_after(&followed(&ROOMS), &run.client.received()[..=point]);
        let node = &run.cluster.nodes[point % 2];
        let request = node.stream().user("42").channels(&ROOMS).header("Last-Event-ID", &run.cursors[point]);
        let mut client = request.open().await;
        check(&mut run, &mut client, account, &["room:1", "user:42"]).await;
    }
}

#[tokio::test]
async fn the_list_of_channels_may_change_in_between() {
    let mut run = run(24).await;
    let (kept, new) = (["room:1", "room:3"], ["room:6", "room:7"]);
    let rooms = ["room:1", "room:3", "room:6", "room:7"];
    for room in new {
        run.publisher.issue(&run.ledger, room).await;
    }
    for point in 0..run.cursors.len() {
        // Rooms left out are gone from the account; new ones begin at the latest event.
        let account = run.ledger.account_after(&followed(&kept), &run.client.received()[..=point]);
        let account = account.and(run.ledger.account(&new));
        let node = &run.cluster.nodes[point % 2];
        let request = node.stream().user("42").channels(&rooms).header("Last-Event-ID", &run.cursors[point]);
        let mut client = request.open().await;
        check(&mut run, &mut client, account, &["room:3", "room:6", "broadcast"]).await;

        // And back: what the shorter list followed goes on, what it left out begins at the latest event.
        let cursor = client.last_id().to_owned();
        client.close();
        let both = followed(&kept);
        let account = run.ledger.account(&both).and(run.ledger.account(&["room:2", "room:4", "room:5"]));
        for channel in both {
            run.publisher.issue(&run.ledger, channel).await;
        }
        let node = &run.cluster.nodes[(point + 1) % 2];
        let request = node.stream().user("42").channels(&ROOMS).header("Last-Event-ID", &cursor);
        let mut client = request.open().await;
        check(&mut run, &mut client, account, &["room:2", "room:1"]).await;
    }
}

#[tokio::test]
async fn clients_that_hop_between_nodes_under_traffic_get_everything_once_in_order() {
    let cluster = Cluster::pair().await;
    let (ledger, all) = (Ledger::default(), followed(&ROOMS));
    let mut publishers = Vec::new();
    for _ in &all {
        publishers.push(Publisher::on(&cluster.redis).await);
    }
    let mut clients = Vec::new();
    for user in ["42", "43"] {
        // All follow the same channels but one: the user's own.
        let channels = [&all[1..], &[if user == "42" { "user:42" } else { "user:43" }]].concat();
        let client = cluster.a().stream().user(user).channels(&ROOMS).open().await;
        clients.push((client, ledger.account(&channels)));
    }
    let traffic =
        futures_util::future::join_all(publishers.iter_mut().zip(&all).map(async |(publisher, channel)| {
            for _ in 0..120 {
                publisher.issue(&ledger, channel).await;
            }
        }));
    let hops = futures_util::future::join_all(clients.iter_mut().enumerate().map(
        async |(seed, (client, account))| {
            let mut draw = fastrand::Rng::with_seed(seed as u64);
            for hop in 1..=25 {
                // What has been read counts; what was still on its way comes again.
                for _ in 0..draw.usize(0..12) {
                    account.note(&client.next().await);
                }
                client.resume(&cluster.nodes[hop % 2]).await;
            }
        },
    ));
    tokio::join!(traffic, hops);
    for (client, account) in &mut clients {
        account.follow(client, &ledger, SOON).await;
        ledger.judge(account).assert_clean();
    }
}
