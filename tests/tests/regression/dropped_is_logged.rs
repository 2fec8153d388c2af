//! Entries that could never be published were put aside without a line in the log, and a flood of lines was bounded
//! by powers of two, so that a reason could stay unlogged for ever.

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::publisher::{ephemeral_topic, live_topic};

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
