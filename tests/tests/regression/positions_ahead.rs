//! A client whose position was ahead of its log, after the clock of Redis went back and its data was lost, got
//! neither events nor a gap: later events have smaller positions.

use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;

const CHANNEL: &str = "room";

async fn cluster() -> (Cluster, Publisher) {
    let cluster = Cluster::on(Redis::start().await, 2, |node| node).await;
    let publisher = Publisher::on(&cluster.redis).await;
    (cluster, publisher)
}

/// From here on positions are ten minutes ahead, as if the clock of Redis were.
async fn put_the_clock_ahead(cluster: &Cluster) {
    let time: Vec<String> = cluster.redis.get(&["TIME"]).await;
    let ahead = time[0].parse::<u64>().unwrap() * 1000 + 600_000;
    let last = format!("fanfare:{{{CHANNEL}}}:last");
    cluster.redis.get::<String>(&["SET", &last, &format!("{ahead}-0")]).await;
    let log = format!("fanfare:{{{CHANNEL}}}:log");
    let id = format!("{ahead}-0");
    cluster.redis.get::<String>(&["XADD", &log, &id, "t", "", "d", "ahead", "p", "0-0"]).await;
}

async fn expect_gap_then(client: &mut Client, data: &str) {
    assert_eq!(client.expect("gap").await.json()["channel"], CHANNEL);
    client.expect_data(data).await;
}

#[tokio::test]
async fn events_after_a_loss_with_the_clock_put_right_reach_a_live_client_and_one_that_comes_back() {
    let (cluster, mut publisher) = cluster().await;
    put_the_clock_ahead(&cluster).await;
    let mut live = cluster.a().stream().user("1").channel(CHANNEL).open().await;
    let mut away = cluster.a().stream().user("2").channel(CHANNEL).open().await;
    for n in 0..3 {
        publisher.publish(CHANNEL, "n", &format!("before {n}")).await;
        live.expect_data(&format!("before {n}")).await;
        away.expect_data(&format!("before {n}")).await;
    }
    away.close();
    cluster.redis.get::<String>(&["FLUSHALL"]).await;
    for n in 0..4 {
        publisher.publish(CHANNEL, "n", &format!("after {n}")).await;
    }
    expect_gap_then(&mut live, "after 0").await;
    for n in 1..4 {
        live.expect_data(&format!("after {n}")).await;
    }
    // A position that the log does not reach is not a reason to be deaf.
    away.resume(cluster.b()).await;
    away.expect("gap").await;
    publisher.publish(CHANNEL, "n", "later").await;
    live.expect_data("later").await;
    away.expect_data("later").await;
    away.close();
    away.resume(cluster.a()).await;
    publisher.publish(CHANNEL, "n", "last").await;
    away.expect_data("last").await;
    let gaps = away.received().iter().filter(|event| event.kind == "gap").count();
    assert_eq!(gaps, 1, "reported once: the next event moved the cursor");
    // What the log had when the client returned is covered by the gap, and history still returns it.
    assert!(away.received().iter().all(|event| !event.data.starts_with("after")), "{}", away.story());
    let history = cluster.a().api().get(&format!("/v1/channels/{CHANNEL}/events")).await.json();
    let stored: Vec<_> = history["events"].as_array().unwrap().iter().map(|event| &event["data"]).collect();
    assert_eq!(stored, ["after 0", "after 1", "after 2", "after 3", "later", "last"]);
}

#[tokio::test]
async fn a_client_that_is_there_when_an_emptied_log_begins_anew_loses_no_event_of_it() {
    let (cluster, mut publisher) = cluster().await;
    put_the_clock_ahead(&cluster).await;
    let mut client = cluster.a().stream().channel(CHANNEL).after("earliest").open().await;
    client.expect_data("ahead").await;
    cluster.redis.get::<String>(&["FLUSHALL"]).await;
    publisher.publish(CHANNEL, "n", "first").await;
    expect_gap_then(&mut client, "first").await;
    publisher.publish(CHANNEL, "n", "second").await;
    client.expect_data("second").await;
}

#[tokio::test]
async fn a_failover_that_loses_only_what_a_live_client_has_is_no_gap() {
    let (cluster, mut publisher) = cluster().await;
    let mut client = cluster.a().stream().user("1").channel(CHANNEL).open().await;
    let kept = publisher.publish(CHANNEL, "n", "kept").await;
    client.expect_data("kept").await;
    put_the_clock_ahead_after(&cluster, &kept.to_string()).await;
    let lost = publisher.publish(CHANNEL, "n", "lost").await;
    client.expect_data("lost").await;
    // The newest write is gone, and the clock with it.
    let (log, last) = (format!("fanfare:{{{CHANNEL}}}:log"), format!("fanfare:{{{CHANNEL}}}:last"));
    cluster.redis.get::<usize>(&["XDEL", &log, &lost.to_string()]).await;
    let entries = cluster.redis.stream(&log).await;
    cluster.redis.get::<usize>(&["DEL", &log]).await;
    for (id, fields) in &entries {
        let mut command = vec!["XADD", &log, id];
        command.extend(fields.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        cluster.redis.get::<String>(&command).await;
    }
    cluster.redis.get::<String>(&["SET", &last, &kept.to_string()]).await;
    let next = publisher.publish(CHANNEL, "n", "next").await;
    assert!(next < lost, "the clock went back");
    client.expect_data("next").await;
    assert!(client.received().iter().all(|event| event.kind != "gap"), "{}", client.story());
}

/// The channel's next position is far ahead, and says that `previous` came before it.
async fn put_the_clock_ahead_after(cluster: &Cluster, previous: &str) {
    let (ms, _) = previous.split_once('-').unwrap();
    let far = ms.parse::<u64>().unwrap() + 600_000;
    // XADD goes on from the newest id that a log ever had, and the chain from the last position.
    let log = format!("fanfare:{{{CHANNEL}}}:log");
    cluster.redis.get::<String>(&["XSETID", &log, &format!("{far}-0")]).await;
}

#[tokio::test]
async fn a_forged_message_on_a_live_topic_stops_no_delivery() {
    let (cluster, mut publisher) = cluster().await;
    let mut live = cluster.a().stream().user("1").channel(CHANNEL).open().await;
    let mut newest = String::new();
    for data in ["first", "second"] {
        newest = publisher.publish(CHANNEL, "n", data).await.to_string();
        live.expect_data(data).await;
    }
    let forged = format!("1 18446744073709551615-0 {newest} n\nforged");
    publisher.forge(CHANNEL, &forged).await.unwrap();
    let mut fresh = cluster.a().stream().user("2").channel(CHANNEL).open().await;
    for n in 0..3 {
        let data = format!("real {n}");
        publisher.publish(CHANNEL, "n", &data).await;
        live.find(|event| *event.data == *data).await;
        fresh.find(|event| *event.data == *data).await;
    }
    for client in [&live, &fresh] {
        let all = client.received();
        assert!(
            all.iter().all(|event| event.kind != "gap" && &*event.data != "forged"),
            "{}",
            client.story()
        );
    }
}
