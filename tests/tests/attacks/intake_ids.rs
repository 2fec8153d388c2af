//! A publisher with `+xadd` on the intake ended it for all: it appended an entry with the greatest possible id, after which
//! Redis refuses every `XADD … *`, and no metric, log line or probe said so.

use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

const LAST: &str = "18446744073709551615-18446744073709551615";

/// Appends an entry as the publisher of `docs/operations.md`, with these arguments before the fields.
async fn append(redis: &Redis, place: &[&str], data: &str) -> redis::RedisResult<String> {
    let mut connection = redis.connection().await?;
    redis::cmd("AUTH").arg("a-publisher").arg("password").query_async::<()>(&mut connection).await?;
    let fields = ["channel", "room:1", "type", "t", "data", data];
    redis::cmd("XADD").arg("fanfare:ingest").arg(place).arg(&fields).query_async(&mut connection).await
}

/// Appends an entry as soon as the stream accepts one.
async fn append_soon(redis: &Redis, data: &str) {
    until("the intake accepts entries", SOON, async || {
        append(redis, &["*"], data).await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
}

async fn cluster() -> Redis {
    let redis = Redis::start().await;
    let user = ["a-publisher", "on", ">password", "~fanfare:ingest", "resetchannels", "+xadd"];
    redis.get::<String>(&[&["ACL", "SETUSER"], &user[..]].concat()).await;
    redis
}

#[tokio::test]
async fn the_greatest_id_does_not_end_the_intake() {
    let redis = cluster().await;
    let node = Node::of(&redis).short_lease().start().await;
    let mut client = node.stream().user("42").channel("room:1").open().await;
    append(&redis, &[LAST], "forged").await.unwrap();
    client.expect_data("forged").await;
    append_soon(&redis, "next").await;
    client.expect_data("next").await;
    // Trimmed away at once, so that no node reads the entry.
    append(&redis, &["MAXLEN", "=", "0", LAST], "trimmed").await.unwrap();
    append_soon(&redis, "after that").await;
    client.expect_data("after that").await;
    assert!(node.log().contains("replaced the ingest stream"), "{}", node.log());
    let resets = node.metrics().await.sum("fanfare_intake_resets_total", &[]);
    assert!((resets - 2.0).abs() < 0.5, "{resets}");
}

#[tokio::test]
async fn an_intake_that_was_ended_before_works_again_after_a_start() {
    let redis = cluster().await;
    for data in ["1", "2"] {
        append(&redis, &["*"], data).await.unwrap();
    }
    append(&redis, &[LAST], "forged").await.unwrap();
    let refused = append(&redis, &["*"], "refused").await.unwrap_err().to_string();
    assert!(refused.contains("exhausted"), "{refused}");
    let node = Node::of(&redis).short_lease().start().await;
    append_soon(&redis, "next").await;
    // Nothing that waited is lost, and nothing comes twice.
    until("every entry is published", SOON, async || {
        let entries = redis.stream("fanfare:{room:1}:log").await;
        if entries.len() == 4 { Ok(()) } else { Err(format!("{entries:?}")) }
    })
    .await;
    drop(node);
}
