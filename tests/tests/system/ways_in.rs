//! Every way of publishing reaches a client on any node.

use std::time::{Duration, Instant};

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::publisher::{ephemeral_topic, log_key};
use serde_json::json;

/// "Within milliseconds", with room for a debug build beside other tests on a small machine, and for the start of
/// redis-cli.
const QUICK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Intake,
    Call,
    Post,
    Ephemeral,
}

const WAYS: [Way; 4] = [Way::Intake, Way::Call, Way::Post, Way::Ephemeral];

impl Way {
    /// Publishes as a stranger would: with redis-cli, or by HTTP at node b.
    async fn send(self, cluster: &Cluster, channel: &str, kind: &str, data: &str) {
        let redis = &cluster.redis;
        match self {
            Self::Intake => {
                let fields = ["channel", channel, "type", kind, "data", data];
                redis.cli(&[&["XADD", "fanfare:ingest", "*"][..], &fields].concat()).await;
            }
            Self::Call => {
                redis.cli(&["FCALL", "fanfare_publish", "1", &log_key(channel), kind, data]).await;
            }
            Self::Post => {
                cluster.b().api().publish(channel, kind, data).await;
            }
            Self::Ephemeral => {
                let event = json!({"type": kind, "data": data}).to_string();
                redis.cli(&["PUBLISH", &ephemeral_topic(channel), &event]).await;
            }
        }
    }
}

#[tokio::test]
async fn each_way_in_reaches_a_client_on_another_node_within_milliseconds() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").channel("room:7").open().await;
    for way in WAYS {
        let mut times = Vec::new();
        for (round, channel) in ["user:42", "room:7", "broadcast"].into_iter().cycle().take(15).enumerate() {
            let (kind, data) = (format!("{way:?}"), format!("{channel} {round}"));
            let (before, cursor) = (Instant::now(), client.last_id().to_owned());
            let (event, ()) = tokio::join!(client.next(), way.send(&cluster, channel, &kind, &data));
            assert_eq!((event.kind, &*event.data), (kind, &*data));
            assert_eq!(event.last_id != cursor, way != Way::Ephemeral, "only kept events move the cursor");
            times.push(event.at.duration_since(before));
        }
        times.sort();
        let median = times[times.len() / 2];
        assert!(median < QUICK, "{way:?}: median {median:?} of {times:?}");
    }
}

#[tokio::test]
async fn data_arrives_verbatim_whatever_lines_it_has() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").open().await;
    let texts = [
        "",
        " ",
        ": hb",
        "id: 7\nretry: 1",
        "a\nb\r\nc\rd\n\n",
        "data: x\n\nevent: gap",
        "ünï → 漢 🎺",
        "\0 \u{feff}",
    ];
    for text in texts {
        let ways: &[Way] = if text.contains('\0') { &[Way::Post] } else { &WAYS };
        for way in ways {
            way.send(&cluster, "user:42", "lines", text).await;
            let wanted = text.replace("\r\n", "\n").replace('\r', "\n");
            assert_eq!(&*client.expect("lines").await.data, wanted, "{way:?}");
        }
    }
}

#[tokio::test]
async fn json_data_is_sent_compact_and_a_type_may_be_left_out() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").open().await;
    let api = cluster.b().api();
    let body = r#"{"channel": "user:42", "data": { "b": [1, 2.50],  "a": null }}"#;
    api.call("POST", "/v1/publish", &[("content-type", "application/json")], body).await.unwrap();
    assert_eq!(&*client.expect("message").await.data, r#"{"b":[1,2.50],"a":null}"#);
    cluster.redis.cli(&["XADD", "fanfare:ingest", "*", "channel", "user:42", "data", "plain"]).await;
    assert_eq!(&*client.expect("message").await.data, "plain");
    cluster.redis.cli(&["FCALL", "fanfare_publish", "1", &log_key("user:42"), "", "plain too"]).await;
    assert_eq!(&*client.expect("message").await.data, "plain too");
}

#[tokio::test]
async fn the_json_format_says_where_each_event_comes_from() {
    let cluster = Cluster::pair().await;
    let request = cluster.a().stream().user("42").channel("room:7").parameter("format", "json");
    let mut client = request.open().await;
    for channel in ["room:7", "user:42", "broadcast"] {
        let position = cluster.b().api().publish(channel, "order.paid", "{\"id\":7}").await;
        let event = client.expect("message").await;
        let wanted = json!({
            "channel": channel, "type": "order.paid", "id": position.to_string(), "time": position.ms,
            "data": "{\"id\":7}"
        });
        assert_eq!(event.json(), wanted);
    }
    Way::Ephemeral.send(&cluster, "room:7", "typing", "x").await;
    let event = client.expect("message").await.json();
    assert_eq!(
        (&event["channel"], &event["type"], &event["data"]),
        (&json!("room:7"), &json!("typing"), &json!("x"))
    );
    assert!(event.get("id").is_none(), "an ephemeral event has no id: {event}");
}

#[tokio::test]
async fn a_key_lets_an_event_in_once_by_each_way() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").open().await;
    let post = async |node: usize| {
        let body = json!({"channel": "user:42", "type": "t", "data": "by post", "key": "k1"});
        cluster.nodes[node].api().post(&body).await.unwrap().json()
    };
    let (first, again) = (post(0).await, post(1).await);
    assert_eq!((&first["repeat"], &again["repeat"]), (&json!(false), &json!(true)));
    assert_eq!(first["id"], again["id"]);

    let call = ["FCALL", "fanfare_publish", "1", "fanfare:{user:42}:log", "t", "by call", "k2"];
    let (first, again) = (cluster.redis.cli(&call).await, cluster.redis.cli(&call).await);
    let (id, repeat) = first.split_once('\n').expect("two lines");
    assert_eq!((repeat, again), ("0", format!("{id}\n1")));

    for _ in 0..2 {
        let entry = ["XADD", "fanfare:ingest", "*", "channel", "user:42", "data", "by intake", "key", "k3"];
        cluster.redis.cli(&entry).await;
    }
    // The first event in the log again: keys hold for a channel, whichever way they came.
    let call = ["FCALL", "fanfare_publish", "1", "fanfare:{user:42}:log", "t", "again", "k1"];
    assert!(cluster.redis.cli(&call).await.ends_with("\n1"));
    for wanted in ["by post", "by call", "by intake"] {
        client.expect_data(wanted).await;
    }
    cluster.redis.cli(&["XADD", "fanfare:ingest", "*", "channel", "user:42", "data", "the end"]).await;
    client.expect_data("the end").await;
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_item() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").channel("room:7").open().await;
    let batch = json!([
        {"channel": "room:7", "data": "one"},
        {"channel": "room:7", "data": "two", "type": "gap"},
        {"channel": "room:7", "data": "three", "ephemeral": true},
        {"channel": "user:42", "data": "four"},
        {"channel": "room:7", "data": "five"},
    ]);
    let answer = cluster.b().api().post(&batch).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.json();
    let results = results.as_array().expect("an array is answered by an array");
    assert_eq!(results.len(), 5);
    for kept in [0, 3, 4] {
        assert!(results[kept]["id"].is_string() && results[kept]["repeat"] == false, "{}", results[kept]);
    }
    fanfare_testkit::api::check_problem(&results[1]["error"], 400, "bad-event", &["reserved"]).unwrap();
    assert!(results[2]["id"].is_null(), "{}", results[2]);
    let mut room = Vec::new();
    for _ in 0..4 {
        room.push(client.next().await.data.to_string());
    }
    room.retain(|data| data != "four");
    // An ephemeral event may overtake those that are kept.
    room.retain(|data| data != "three");
    assert_eq!(room, ["one", "five"]);
}

#[tokio::test]
async fn the_history_of_a_channel_can_be_read_page_by_page() {
    let cluster = Cluster::pair().await;
    for n in 0..7 {
        cluster.a().api().publish("room:7", "n", &n.to_string()).await;
    }
    let (mut after, mut data) = ("earliest".to_owned(), Vec::new());
    loop {
        let page =
            cluster.b().api().get(&format!("/v1/channels/room:7/events?after={after}&limit=3")).await.json();
        assert_eq!((&page["channel"], &page["gap"]), (&json!("room:7"), &json!(false)), "{page}");
        for event in page["events"].as_array().expect("events") {
            assert_eq!(event["type"], "n");
            data.push(event["data"].as_str().expect("data is text").to_owned());
        }
        page["next"].as_str().expect("next is a position").clone_into(&mut after);
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(data, ["0", "1", "2", "3", "4", "5", "6"]);
}

#[tokio::test]
async fn the_function_comes_back_after_a_flush_and_after_redis_came_back_empty() {
    let mut cluster = Cluster::pair().await;
    let comes_back = async |cluster: &Cluster, data: &str| {
        until("FCALL works again", SOON, async || {
            let call = ["FCALL", "fanfare_publish", "1", "fanfare:{user:42}:log", "t", data];
            cluster.redis.ask::<redis::Value>(&call).await
        })
        .await;
    };
    let mut client = cluster.a().stream().user("42").open().await;
    cluster.redis.get::<()>(&["FUNCTION", "FLUSH"]).await;
    comes_back(&cluster, "after the flush").await;
    client.expect_data("after the flush").await;

    cluster.redis.stop().await;
    cluster.redis.start_again().await;
    comes_back(&cluster, "after the wipe").await;
    client.find(|event| &*event.data == "after the wipe").await;
    // Intake works as well: a reading of the new stream has begun.
    cluster.redis.cli(&["XADD", "fanfare:ingest", "*", "channel", "user:42", "data", "by intake"]).await;
    client.expect_data("by intake").await;
}

#[tokio::test]
async fn a_node_tells_its_figures_and_the_cluster_its_nodes() {
    let cluster = Cluster::pair().await;
    let mut client = cluster.a().stream().user("42").open().await;
    // The first event may come from the log, where no latency is measured: the stream's subscription has only begun.
    for data in ["x", "y"] {
        cluster.b().api().publish("user:42", "t", data).await;
        client.expect("t").await;
    }
    let cursor = client.last_id().to_owned();
    let resumed = cluster.a().stream().user("42").header("Last-Event-ID", &cursor).open().await;
    let metrics = cluster.a().metrics().await;
    for (name, wanted) in [("sse_active_connections", 2.0), ("sse_reconnections_total", 1.0)] {
        assert!((metrics.sum(name, &[]) - wanted).abs() < f64::EPSILON, "{name} {}", metrics.sum(name, &[]));
    }
    assert!(metrics.sum("sse_max_connections", &[]) >= 2.0);
    assert!(metrics.sum("sse_event_latency_seconds_count", &[]) >= 1.0);

    until("both nodes are listed, a with two connections", SOON, async || {
        let nodes = cluster.b().api().get("/v1/nodes").await.json()["nodes"].clone();
        let figures: Vec<_> = nodes
            .as_array()
            .into_iter()
            .flatten()
            .map(|node| {
                (
                    node["id"].as_str().unwrap_or_default().to_owned(),
                    node["connections"].as_u64(),
                    node["draining"].as_bool(),
                )
            })
            .collect();
        let wanted = [("a".to_owned(), Some(2), Some(false)), ("b".to_owned(), Some(0), Some(false))];
        if figures == wanted { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    let sessions = cluster.b().api().get("/v1/users/42/sessions").await.json();
    let held: Vec<_> =
        sessions["sessions"].as_array().expect("sessions").iter().map(|s| &s["session"]).collect();
    assert_eq!(held, [&json!(client.session()), &json!(resumed.session())], "oldest first: {sessions}");
}
