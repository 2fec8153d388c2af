//! When a client gets a gap, and when it gets none.

use fanfare_protocol::Position;
use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::becomes;
use fanfare_testkit::publisher::{Publisher, log_key};
use fanfare_testkit::redis::Redis;
use serde_json::json;

const CHANNEL: &str = "room:1";

/// Two nodes, and a client that has received three events of the channel and then left.
struct Scene {
    cluster: Cluster,
    publisher: Publisher,
    client: Client,
    held: Position,
}

async fn scene(age: &str) -> Scene {
    let cluster = Cluster::on(Redis::start().await, 2, |node| node.keep_for(age)).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut client = cluster.a().stream().user("42").channel(CHANNEL).open().await;
    let mut held = Position::ZERO;
    for n in 1..=3 {
        held = publisher.publish(CHANNEL, "n", &n.to_string()).await;
        client.expect_data(&n.to_string()).await;
    }
    client.close();
    Scene { cluster, publisher, client, held }
}

impl Scene {
    async fn wait_until_expired(&self) {
        becomes("the log has expired", 0, async || {
            self.cluster.redis.get::<usize>(&["EXISTS", &log_key(CHANNEL)]).await
        })
        .await;
    }

    async fn publish(&mut self, data: &str) -> Position {
        self.publisher.publish(CHANNEL, "n", data).await
    }

    /// Checks that the next event is a gap in the channel after the client's position.
    async fn expect_gap(&mut self) {
        let gap = self.client.expect("gap").await;
        assert_eq!(gap.json(), json!({"channel": CHANNEL, "after": self.held.to_string()}));
        assert!(gap.has_id, "each event has the cursor");
    }
}

#[tokio::test]
async fn a_log_that_expired_without_a_missed_event_is_no_gap() {
    let mut scene = scene("1s").await;
    scene.wait_until_expired().await;
    for node in [1, 0] {
        scene.client.resume(&scene.cluster.nodes[node]).await;
        scene.publish("next").await;
        scene.client.expect_data("next").await;
        scene.client.close();
        scene.wait_until_expired().await;
    }
}

#[tokio::test]
async fn a_log_that_expired_with_missed_events_is_a_gap() {
    let mut scene = scene("1s").await;
    let missed = scene.publish("missed").await.to_string();
    scene.wait_until_expired().await;
    let path = format!("/v1/channels/{CHANNEL}/events?after={}", scene.held);
    let page = scene.cluster.b().api().get(&path).await.json();
    assert_eq!((&page["gap"], &page["next"]), (&json!(true), &json!(missed)), "{page}");
    scene.client.resume(scene.cluster.b()).await;
    // At once, and once: no event moves the cursor.
    scene.expect_gap().await;
    scene.client.close();
    scene.client.resume(scene.cluster.a()).await;
    scene.publish("next").await;
    scene.client.expect_data("next").await;
}

#[tokio::test]
async fn a_live_client_gets_no_gap_when_the_log_expires_behind_it() {
    let mut scene = scene("1s").await;
    scene.client.resume(scene.cluster.b()).await;
    scene.wait_until_expired().await;
    scene.publish("next").await;
    scene.client.expect_data("next").await;
}

#[tokio::test]
async fn a_log_trimmed_up_to_the_held_position_is_no_gap_and_one_trimmed_further_is() {
    for (keep, gap) in [(5, false), (4, false), (3, false), (2, true), (1, true)] {
        let mut scene = scene("1h").await;
        for n in 4..=6 {
            scene.publish(&n.to_string()).await;
        }
        let log = log_key(CHANNEL);
        scene.cluster.redis.get::<usize>(&["XTRIM", &log, "MAXLEN", "=", &keep.to_string()]).await;
        scene.client.resume(scene.cluster.b()).await;
        if gap {
            scene.expect_gap().await;
        }
        for n in 4.max(7 - keep)..=6 {
            scene.client.expect_data(&n.to_string()).await;
        }
    }
}

#[tokio::test]
async fn a_redis_that_forgot_everything_is_a_gap() {
    let mut scene = scene("1h").await;
    scene.cluster.redis.get::<()>(&["FLUSHALL"]).await;
    scene.client.resume(scene.cluster.b()).await;
    scene.publish("next").await;
    scene.expect_gap().await;
    scene.client.expect_data("next").await;
}

#[tokio::test]
async fn history_says_whether_it_still_reaches_back() {
    let mut scene = scene("1h").await;
    for n in 4..=6 {
        scene.publish(&n.to_string()).await;
    }
    let path = format!("/v1/channels/{CHANNEL}/events?after={}", scene.held);
    for (keep, gap) in [(3, false), (2, true)] {
        let log = log_key(CHANNEL);
        scene.cluster.redis.get::<usize>(&["XTRIM", &log, "MAXLEN", "=", &keep.to_string()]).await;
        let page = scene.cluster.b().api().get(&path).await.json();
        assert_eq!(
            (&page["gap"], page["events"].as_array().map(Vec::len)),
            (&json!(gap), Some(keep)),
            "{page}"
        );
    }
}
