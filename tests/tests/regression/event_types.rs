//! Events of the types `error` and `open` call a browser's `onerror` and `onopen`: a page takes them for a lost connection.

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::becomes;
use fanfare_testkit::publisher::Publisher;
use serde_json::json;

#[tokio::test]
async fn an_event_that_a_browser_would_take_for_a_lost_connection_is_refused_in_every_way_in() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").open().await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    for (dead, kind) in ["error", "open"].into_iter().enumerate() {
        let offered = format!("task.{kind}");
        let event = json!({"channel": "user:42", "type": kind, "data": "x"});
        let answer = cluster.a().api().post(&event).await.unwrap();
        answer.is_problem(400, "bad-event", &[kind, &offered]).unwrap();

        let error = publisher.call("user:42", kind, "x", None).await.unwrap_err().to_string();
        assert!(error.contains(&offered), "{error}");

        let fields = [("channel", &b"user:42"[..]), ("type", kind.as_bytes()), ("data", b"x")];
        publisher.ingest(&fields).await.unwrap();
        becomes("entries among the dead", dead + 1, async || {
            cluster.redis.get(&["XLEN", "fanfare:ingest:dead"]).await
        })
        .await;

        let ephemeral = json!({"type": kind, "data": "x"}).to_string();
        publisher.ephemeral("user:42", &ephemeral).await.unwrap();
    }
    for (_, fields) in cluster.redis.stream("fanfare:ingest:dead").await {
        assert!(fields[0].0 == "reason" && fields[0].1.contains("task."), "{fields:?}");
    }
    // Nothing of that got through, and a name of one's own does.
    publisher.publish("user:42", "task.error", "x").await;
    assert_eq!(client.next().await.kind, "task.error");
}
