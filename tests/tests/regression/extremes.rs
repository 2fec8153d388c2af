//! The largest position as a cursor: history said 409 and blamed a key, and a stream stayed deaf and asked Redis for
//! ever what it refuses.

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;

const GREATEST: &str = "18446744073709551615";

async fn cluster() -> Cluster {
    Cluster::on(Redis::start().await, 1, |node| node).await
}

#[tokio::test]
async fn a_stream_with_any_cursor_that_is_a_position_is_served() {
    let cluster = cluster().await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    for (n, cursor) in [
        format!("{GREATEST}-{GREATEST}"),
        format!("{GREATEST}-0"),
        format!("0-{GREATEST}"),
        "0-0".to_owned(),
        "9223372036854775808-1".to_owned(),
        "99999999999999-1".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        // With a log that has events, and with one that never had any.
        for channel in ["broadcast", &format!("room:{n}")] {
            let mut client =
                cluster.a().stream().channel(channel).header("Last-Event-ID", &cursor).open().await;
            // Told as a gap, or delivered: what comes after it is.
            publisher.publish(channel, "n", "first").await;
            client.next().await;
            let data = format!("{n} in {channel}");
            publisher.publish(channel, "n", &data).await;
            client.find(|event| *event.data == *data).await;
        }
    }
    let metrics = cluster.a().metrics().await;
    assert!(metrics.sum("fanfare_log_reads_failed_total", &[]) < 1.0, "nothing is asked that Redis refuses");
}

#[tokio::test]
async fn a_start_at_any_time_is_served() {
    let cluster = cluster().await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    publisher.publish("broadcast", "n", "old").await;
    for (after, old) in [("0", true), ("1", true), (GREATEST, false), ("9007199254740993", false)] {
        let mut client = cluster.a().stream().after(after).open().await;
        let data = format!("after {after}");
        publisher.publish("broadcast", "n", &data).await;
        client.find(|event| *event.data == *data).await;
        assert!(client.received().iter().all(|event| event.kind != "gap"), "{}", client.story());
        assert_eq!(client.received().iter().any(|event| &*event.data == "old"), old);
    }
}

#[tokio::test]
async fn history_answers_any_position_and_any_time_and_refuses_what_is_none() {
    let cluster = cluster().await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let last = publisher.publish("room", "n", "1").await.to_string();
    let get = async |query: &str| {
        let answer = cluster.a().api().get(&format!("/v1/channels/room/events?{query}")).await;
        let body: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        (answer.status, body)
    };
    for after in [format!("{GREATEST}-{GREATEST}"), format!("{GREATEST}-0"), "99999999999999-1".to_owned()] {
        let (status, body) = get(&format!("after={after}")).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!((&body["gap"], &body["more"]), (&true.into(), &false.into()), "{body}");
        assert_eq!(body["next"], last.as_str(), "where the channel really stands");
    }
    for after in ["0", "0-0", "earliest"] {
        let (status, body) = get(&format!("after={after}&limit=1000")).await;
        assert_eq!((status, body["events"].as_array().unwrap().len()), (200, 1), "{body}");
        assert_eq!(body["gap"], false);
    }
    for after in [GREATEST, "latest"] {
        let (status, body) = get(&format!("after={after}&limit=1")).await;
        assert_eq!((status, body["events"].as_array().unwrap().len()), (200, 0), "{body}");
        assert_eq!((&body["gap"], &body["next"]), (&false.into(), &last.as_str().into()));
    }
    let too_large = "18446744073709551616";
    for query in [
        format!("after={too_large}"),
        format!("after={too_large}-0"),
        format!("after=0-{too_large}"),
        "after=-1".to_owned(),
        format!("limit={GREATEST}"),
        "limit=0".to_owned(),
        "limit=1001".to_owned(),
    ] {
        let (status, body) = get(&query).await;
        assert_eq!(status, 400, "{query}: {body}");
    }
}
