//! A stock client that comes back with its cursor in the query, or with parameters of its own, is served.
//!
//! Issue 10, rows 6 and 16: `event-source-polyfill` sends `?lastEventId=` and gave up for good on the 400 that it got;
//! cache busters were refused from the start; `undefined` as a cursor was said to come "from a newer node".

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;

/// A node, and the cursors of a client before and after an event that it missed.
struct Scene {
    cluster: Cluster,
    publisher: Publisher,
    first: String,
    second: String,
}

async fn scene(configure: impl Fn(NodeBuilder) -> NodeBuilder) -> Scene {
    let cluster = Cluster::on(Redis::start().await, 1, configure).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    let mut client = cluster.a().stream().user("7").open().await;
    let first = client.last_id().to_owned();
    publisher.publish("user:7", "t", "one").await;
    client.expect_data("one").await;
    let second = client.last_id().to_owned();
    client.close();
    publisher.publish("user:7", "t", "two").await;
    Scene { cluster, publisher, first, second }
}

impl Scene {
    fn stream(&self) -> StreamRequest {
        self.cluster.a().stream().user("7")
    }

    /// Opens a stream and reads what it begins with, up to an event published now.
    async fn begins_with(&mut self, request: StreamRequest) -> Vec<String> {
        let mut client = request.open().await;
        self.publisher.publish("user:7", "t", "now").await;
        let mut begins = Vec::new();
        loop {
            let event = client.next().await;
            if &*event.data == "now" {
                break;
            }
            begins.push(event.data.to_string());
        }
        // The next stream must not begin with it.
        begins.retain(|data| data != "now");
        begins
    }
}

#[tokio::test]
async fn a_cursor_in_the_query_is_served_under_each_name_that_libraries_give_it() {
    for name in ["lastEventId", "lastEventID", "last_event_id", "last-event-id", "Last-Event-ID"] {
        let mut scene = scene(|node| node).await;
        let (first, second) = (scene.first.clone(), scene.second.clone());
        let request = scene.stream().parameter(name, &first);
        assert_eq!(scene.begins_with(request).await, ["one", "two"], "{name}");
        // What a library appends follows what the page wrote.
        let mut again = self::scene(|node| node).await;
        let request = again.stream().parameter(name, &again.first).parameter(name, &again.second);
        assert_eq!(again.begins_with(request).await, ["two"], "{name} twice; {second}");
    }
}

#[tokio::test]
async fn the_header_wins_then_the_query_then_after() {
    let s = &mut scene(|node| node).await;
    let (first, second) = (s.first.clone(), s.second.clone());
    let request =
        s.stream().header("Last-Event-ID", &second).parameter("lastEventId", &first).after("earliest");
    assert_eq!(s.begins_with(request).await, ["two"]);
    let s = &mut scene(|node| node).await;
    let request = s.stream().parameter("lastEventId", &s.second).after("earliest");
    assert_eq!(s.begins_with(request).await, ["two"]);
    // An empty value is none.
    let s = &mut scene(|node| node).await;
    let empty =
        s.stream().header("Last-Event-ID", "").parameter("lastEventId", "").parameter("last_event_id", " ");
    assert_eq!(s.begins_with(empty.clone().after("earliest")).await, ["one", "two"]);
    let s = &mut scene(|node| node).await;
    let empty = s.stream().parameter("lastEventId", "").after("");
    assert_eq!(s.begins_with(empty).await, Vec::<String>::new());
}

#[tokio::test]
async fn unknown_parameters_are_ignored_counted_and_named_in_the_log() {
    let s = scene(|node| node).await;
    let long = "x".repeat(1000);
    let request = s.stream().parameter("_", "1718031234567").parameter("_ts", "secret").parameter(&long, "1");
    let mut client = request.parameter("lastEventId", &s.second).open().await;
    client.expect_data("two").await;
    let text = s.cluster.a().api().get("/metrics").await.text;
    assert!(text.contains("fanfare_ignored_parameters_total 3\n"), "{text}");
    let log = s.cluster.a().log();
    for name in ["name=_ ", "name=_ts ", &format!("name={} ", &long[..64])] {
        let name = name.trim_end();
        assert!(log.contains(name) || log.contains(&name.replace('=', "=\"")), "{name} in {log}");
    }
    assert!(!log.contains("secret") && !log.contains(&long[..65]), "{log}");
    // Other calls are made by programs, which are not ended by a 400.
    let refused = s.cluster.a().api().get("/v1/channels/user:7/events?_=1").await;
    refused.is_problem(400, "bad-request", &["_"]).unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_known_parameter_with_a_wrong_value_is_refused_and_the_error_shows_what_was_sent() {
    let s = scene(|node| node).await;
    let mut wrong = Vec::new();
    for (text, word) in [
        ("null", "missing value"),
        ("undefined", "missing value"),
        ("NaN", "missing value"),
        ("[object Object]", "missing value"),
        ("\"\"", "missing value"),
        ("latest", "after=latest"),
        ("earliest", "after=earliest"),
        ("12", "position"),
        ("-1", "position"),
        ("hello", "position"),
        ("abandoned", "damaged"),
    ] {
        let sent = [s.stream().header("Last-Event-ID", text), s.stream().parameter("lastEventId", text)];
        let after = s.stream().after(text);
        // A time or a place is a value of after=.
        let after = (!["latest", "earliest", "12"].contains(&text)).then_some(after);
        for request in sent.into_iter().chain(after) {
            let asked = format!("{request:?}");
            let answer = request.send().await.answer().await;
            let check = answer.is_problem(400, "bad-cursor", &[word]);
            let shown = serde_json::from_str::<serde_json::Value>(&answer.text).is_ok_and(|body| {
                body["detail"].as_str().is_some_and(|text_| text_.contains(&format!("{text:?}")))
            });
            if let Err(why) = check {
                wrong.push(format!("{asked}: {why}"));
            } else if !shown || answer.text.contains("newer") {
                wrong.push(format!("{asked}: {}", answer.text));
            }
        }
    }
    for (name, value) in [("session", "7"), ("format", "xml"), ("last", "0"), ("channel", "a b")] {
        let answer = s.stream().parameter(name, value).send().await.answer().await;
        if answer.status != 400 {
            wrong.push(format!("{name}={value}: {}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_cursor_header_that_is_no_ascii_or_two_cursors_is_refused_and_one_sent_twice_is_served() {
    let s = &mut scene(|node| node).await;
    for (lines, word) in [
        (&["Last-Event-ID: \u{fc}\r\n"][..], "\u{fc}"),
        (&["Last-Event-ID: 1-1\r\n", "Last-Event-ID: 1-2\r\n"], "two different"),
        (&["Last-Event-ID: 1-1, 1-2\r\n"], "two different"),
    ] {
        let text =
            format!("GET /v1/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", lines.concat());
        let answer = crate::raw::exchange(s.cluster.a().address(), text.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad-cursor"), "{answer}");
        assert!(answer.contains(word), "{answer}");
    }
    let second = s.second.clone();
    let twice = s.stream().header("Last-Event-ID", &second).header("Last-Event-ID", &second);
    assert_eq!(s.begins_with(twice).await, ["two"]);
}
