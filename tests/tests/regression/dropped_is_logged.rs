//! Entries that could never be published were put aside without a line in the log, and a flood of lines was bounded
//! by powers of two, so that a reason could stay unlogged for ever. History calls skipped malformed log entries without a
//! line and without a count, and the sweep removed members of session sets that no node wrote.

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::{ephemeral_topic, live_topic};
use fanfare_testkit::redis::Redis;

#[tokio::test]
async fn a_dead_intake_entry_is_logged_with_its_id_its_channel_and_the_reason() {
    let cluster = Cluster::pair().await;
    let add = async |fields: &[&str]| {
        let id = cluster.redis.cli(&[&["XADD", "fanfare:ingest", "*"], fields].concat()).await;
        id.trim().trim_matches('"').to_owned()
    };
    let unknown = add(&["channel", "orders", "data", "secret payload", "colour", "red"]).await;
    let missing = add(&["channel", "orders"]).await;
    // Redis itself refuses this one: its log is a key of another type.
    cluster.redis.cli(&["SET", "fanfare:{broken}:log", "x"]).await;
    let refused = add(&["channel", "broken", "data", "x"]).await;
    for (id, channel, reason) in [
        (&unknown, "orders", "unknown field \\\"colour\\\""),
        (&missing, "orders", "the field \\\"data\\\" is missing"),
        (&refused, "broken", "WRONGTYPE"),
    ] {
        until(&format!("{id} is logged"), SOON, async || {
            let log = cluster.a().log() + &cluster.b().log();
            let line = log.lines().find(|line| {
                line.contains("moving intake entry to the dead-letter stream") && line.contains(id.as_str())
            });
            let line = line.ok_or_else(|| log.clone())?;
            if line.contains(channel) && line.contains(reason) { Ok(()) } else { Err(line.to_owned()) }
        })
        .await;
    }
    assert!(!(cluster.a().log() + &cluster.b().log()).contains("secret payload"));
}

#[tokio::test]
async fn malformed_live_messages_are_each_logged_until_there_are_too_many() {
    let cluster = Cluster::pair().await;
    let node = cluster.a();
    let mut client = node.stream().channel("room:7").open().await;
    let publish = async |message: &str| {
        let topic = if message.starts_with('1') { live_topic("room:7") } else { ephemeral_topic("room:7") };
        cluster.redis.cli(&["PUBLISH", &topic, message]).await
    };
    // The third was not logged when the second power of two had been.
    for message in ["hello", "{\"type\":\"t\"}", "{\"data\":7,\"secret\":1}", "1 5-0 5-0 t\nd"] {
        publish(message).await;
    }
    node.api().publish("room:7", "note", "behind them").await;
    client.expect("note").await;
    let lines =
        |log: &str| log.lines().filter(|line| line.contains("dropped malformed Pub/Sub message")).count();
    until("each is logged", SOON, async || match lines(&node.log()) {
        4 => Ok(()),
        lines => Err(format!("{lines} lines")),
    })
    .await;
    assert!(node.log().contains("room:7") && !node.log().contains("secret"), "{}", node.log());
    let flood = "for i = 1, 5000 do redis.call('PUBLISH', KEYS[1], 'hello') end";
    cluster.redis.cli(&["EVAL", flood, "1", &live_topic("room:7")]).await;
    node.api().publish("room:7", "note", "behind the flood").await;
    client.expect_data("behind the flood").await;
    let counted = node.metrics().await.sum("fanfare_pubsub_malformed_total", &[]);
    assert!((counted - 5004.0).abs() < f64::EPSILON, "{counted}");
    assert!(lines(&node.log()) < 60, "{} lines", lines(&node.log()));
}

/// Adds an entry to the log of a channel behind a valid one, as the channel's last. Returns its id.
async fn add_to_log(cluster: &Cluster, channel: &str, fields: &[&str]) -> String {
    cluster.a().api().publish(channel, "t", "valid").await;
    let log = format!("fanfare:{{{channel}}}:log");
    let id = cluster.redis.get::<String>(&[&["XADD", &log, "*"], fields].concat()).await;
    cluster.redis.get::<()>(&["SET", &format!("fanfare:{{{channel}}}:last"), &id]).await;
    id
}

/// Waits until a node has logged a malformed log entry.
async fn logs(node: &Node, channel: &str, id: &str, reason: &str) {
    until(&format!("{channel} is logged"), SOON, async || {
        let log = node.log();
        let line = log.lines().find(|line| {
            line.contains("skipped malformed log entries") && line.contains(channel) && line.contains(id)
        });
        let line = line.ok_or_else(|| log.clone())?;
        if line.contains(reason) { Ok(()) } else { Err(line.to_owned()) }
    })
    .await;
}

/// History calls skipped them in silence.
#[tokio::test]
async fn a_malformed_log_entry_is_counted_and_logged_with_its_id_and_its_fault_by_streams_and_history_calls()
{
    let cluster = Cluster::pair().await;
    let node = cluster.b();
    let mut read = 0.0;
    for (channel, fields, reason) in [
        ("foreign", &["secret", "payload"][..], "it does not have the fields t, d and p"),
        (
            "previous",
            &["t", "", "d", "secret payload", "p", "18446744073709551615-0"],
            "its field p is not an earlier position",
        ),
        (
            "reserved",
            &["t", "gap", "d", "secret payload", "p", "0-0"],
            "the event type \\\"gap\\\" is reserved",
        ),
    ] {
        let counted = async |wanted: f64| {
            let counted = node.metrics().await.sum("fanfare_log_malformed_total", &[]);
            assert!((counted - wanted).abs() < f64::EPSILON, "{channel}: {counted}");
        };
        let id = add_to_log(&cluster, &format!("{channel}:1"), fields).await;
        let page = node.api().get(&format!("/v1/channels/{channel}:1/events")).await.json();
        assert_eq!(page["events"].as_array().map(Vec::len), Some(1), "{page}");
        logs(node, &format!("{channel}:1"), &id, reason).await;
        read += 1.0;
        counted(read).await;
        // This node has no events of the channel in memory.
        let id = add_to_log(&cluster, &format!("{channel}:2"), fields).await;
        let request = node.stream().channel(&format!("{channel}:2")).after("earliest");
        let mut client = request.open().await;
        client.expect_data("valid").await;
        logs(node, &format!("{channel}:2"), &id, reason).await;
        read += 1.0;
        counted(read).await;
    }
    assert!(!node.log().contains("payload"), "{}", node.log());
}

/// The sweep removed them in silence.
#[tokio::test]
async fn a_member_of_a_session_set_that_no_node_wrote_is_counted_and_logged_when_it_is_removed() {
    let redis = Redis::start().await;
    redis.get::<()>(&["SADD", "fanfare:nodes", "ghost"]).await;
    redis.get::<()>(&["SADD", "fanfare:node:ghost:sessions", "x", "secret y"]).await;
    redis.get::<()>(&["ZADD", "fanfare:leaving", "0", "no user"]).await;
    let node = Node::of(&redis).short_lease().start().await;
    until("they are removed", SOON, async || {
        let counted = node.metrics().await.sum("fanfare_sweep_malformed_total", &[]);
        if counted > 2.5 { Ok(()) } else { Err(counted) }
    })
    .await;
    let log = node.log();
    assert!(log.contains("removed members of session sets that no node wrote"), "{log}");
    assert!(!log.contains("secret"), "{log}");
}
