//! What balancers say while no node is there. They had no CORS headers, so that a native `EventSource` of another origin
//! was closed for good, and no id, so that clients which take each event's id as their position forgot theirs.

use std::net::SocketAddr;

use fanfare_protocol::cursor::MAX_CURSOR_BYTES;
use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::behind_each;
use fanfare_testkit::exchange::{Exchanged, exchange};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;

const ORIGIN: &str = "https://app.example";

/// Asks a balancer whose nodes are gone.
struct Alone(Balancer);

impl Alone {
    async fn behind(kind: Kind) -> Self {
        let redis = Redis::start().await;
        let mut node = Node::of(&redis).start().await;
        let balancer = Balancer::before(kind, [node.address(); 3]).await;
        node.kill().await;
        Self(balancer)
    }

    fn to(&self) -> SocketAddr {
        self.0.address()
    }

    async fn ask(&self, method: &str, url: &str, fields: &[(&str, &str)]) -> Exchanged {
        let fields: String = fields.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
        let request = format!("{method} {url} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        exchange(self.to(), &request, "").await
    }

    /// The id of the one event of the answer, which must be `overloaded` and whole.
    async fn id(&self, url: &str, fields: &[(&str, &str)]) -> Option<String> {
        let answer = self.ask("GET", url, fields).await;
        let head = &answer.head;
        assert_eq!((head.status, head.field("content-type")), (200, "text/event-stream"), "{answer:?}");
        assert!(head.field("cache-control").contains("no-store"), "{head:?}");
        assert_eq!(head.field("vary"), "Origin", "{head:?}");
        assert!(
            answer.rest.ends_with("\nevent: overloaded\ndata: {\"reason\":\"unavailable\"}\n\n"),
            "{answer:?}"
        );
        let mut lines = answer.rest.lines();
        let first = lines.next().unwrap_or_default();
        let id = first.strip_prefix("id: ");
        let retry = if id.is_some() { lines.next().unwrap_or_default() } else { first };
        let retry: u64 =
            retry.strip_prefix("retry: ").expect("a time to come back").parse().expect("a number");
        assert!((1000..3000).contains(&retry), "{retry}");
        // One block: no other blank line, and nothing but an id where there is a cursor.
        assert_eq!(answer.rest.matches("\n\n").count(), 1, "{answer:?}");
        assert_eq!(answer.rest.matches("id:").count(), usize::from(id.is_some()), "{answer:?}");
        id.map(str::to_owned)
    }
}

behind_each! {
    a_stream_of_another_origin_is_asked_to_come_back => other_origins;
    an_answer_echoes_the_cursor_of_the_client_wherever_it_is => cursors;
    who_asks_for_a_status_or_cannot_open_a_stream_gets_a_status => statuses;
    a_status_of_a_node_reaches_who_asks_for_it_and_no_native_client => statuses_of_the_node;
}

async fn other_origins(kind: Kind) {
    let alone = Alone::behind(kind).await;
    for round in 0..5 {
        let answer = alone.ask("GET", "/v1/events?user=1", &[("Origin", ORIGIN)]).await;
        assert_eq!(answer.head.status, 200, "{round}: {answer:?}");
        assert_eq!(answer.head.field("access-control-allow-origin"), ORIGIN, "{answer:?}");
        assert_eq!(answer.head.field("access-control-allow-credentials"), "true", "{answer:?}");
        assert_eq!(answer.head.field("vary"), "Origin");
        let same = alone.ask("GET", "/v1/events?user=1", &[]).await;
        assert_eq!(same.head.field("access-control-allow-origin"), "", "{same:?}");
        assert_eq!(same.head.field("access-control-allow-credentials"), "", "{same:?}");
        let asks = [
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "authorization, last-event-id"),
        ];
        let preflight = alone.ask("OPTIONS", "/v1/events?user=1", &asks).await;
        assert!([200, 204].contains(&preflight.head.status), "{preflight:?}");
        assert_eq!(preflight.head.field("access-control-allow-origin"), ORIGIN, "{preflight:?}");
        assert_eq!(preflight.head.field("access-control-allow-credentials"), "true", "{preflight:?}");
        assert!(preflight.head.field("access-control-allow-methods").contains("GET"), "{preflight:?}");
        for header in ["authorization", "cache-control", "content-type", "last-event-id", "prefer"] {
            let allowed = preflight.head.field("access-control-allow-headers");
            assert!(allowed.contains(header), "{header} in {allowed}");
        }
        // It would let a page of any origin publish with the cookie of its visitor.
        let publish = alone.ask("OPTIONS", "/v1/publish", &asks).await;
        assert_eq!(publish.head.field("access-control-allow-origin"), "", "{publish:?}");
    }
}

async fn cursors(kind: Kind) {
    let alone = Alone::behind(kind).await;
    let longest = format!("a{:B<1$}", "", MAX_CURSOR_BYTES - 1);
    let too_long = format!("{longest}B");
    // Twice: in the moment before the balancer knows that the nodes are gone, and afterwards.
    for round in 0..2 {
        for (query, header, id) in [
            ("", None, None),
            ("", Some("17-3"), Some("17-3")),
            ("", Some("aBx_-z"), Some("aBx_-z")),
            ("", Some(&*longest), Some(&*longest)),
            ("", Some(&*too_long), None),
            ("", Some("a b"), None),
            ("", Some("17-3; retry: 1"), None),
            ("lastEventId=1-1", None, Some("1-1")),
            ("lastEventID=1-2&channel=x", None, Some("1-2")),
            ("channel=x&last_event_id=aBx", None, Some("aBx")),
            ("channel=x&last-event-id=1-4&y=z", None, Some("1-4")),
            ("after=1-5", None, Some("1-5")),
            ("channel=x&after=aBx", None, Some("aBx")),
            ("after=latest", None, None),
            ("after=earliest", None, None),
            ("after=1718031234567", None, None),
            ("after=1-5&lastEventId=1-6", None, Some("1-6")),
            ("after=1-5&lastEventId=1-6", Some("1-7"), Some("1-7")),
            ("lastEventId=1-6", Some(""), Some("1-6")),
            ("xlastEventId=1-6&lastEventIdx=1-7&channel=lastEventId=1-8", None, None),
        ] {
            let fields: Vec<_> = header.map(|value| ("Last-Event-ID", value)).into_iter().collect();
            let url = if query.is_empty() { "/v1/events".to_owned() } else { format!("/v1/events?{query}") };
            let found = alone.id(&url, &fields).await;
            assert_eq!(found.as_deref(), id, "round {round}: {query} {header:?}");
        }
    }
}

async fn statuses(kind: Kind) {
    let alone = Alone::behind(kind).await;
    let origin = ("Origin", ORIGIN);
    for (method, fields) in [
        ("GET", &[origin, ("Prefer", "respond-async, status")][..]),
        ("POST", &[origin, ("Content-Length", "0")]),
    ] {
        let answer = alone.ask(method, "/v1/events?user=1", fields).await;
        assert_eq!(answer.head.status, 503, "{method}: {answer:?}");
        assert_eq!(answer.head.field("content-type"), "application/problem+json", "{method}: {answer:?}");
        assert_eq!(answer.head.field("retry-after"), "2", "{method}: {answer:?}");
        // A page can read it, and so try again.
        assert_eq!(answer.head.field("access-control-allow-origin"), ORIGIN, "{method}: {answer:?}");
        let problem = fanfare_testkit::api::check_problem(
            &serde_json::from_str(&answer.rest).unwrap_or_else(|e| panic!("{e}: {answer:?}")),
            503,
            "unavailable",
            &["node"],
        );
        problem.unwrap_or_else(|e| panic!("{e}"));
    }
    let head = alone.ask("HEAD", "/v1/events?user=1", &[]).await;
    assert_eq!((head.head.status, head.head.field("content-type")), (200, "text/event-stream"), "{head:?}");
}

/// nginx answered with its own 503, "no node can take the stream now", to a user with too many sessions.
async fn statuses_of_the_node(kind: Kind) {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .set("LIMITS__SESSIONS_PER_USER", "1")
        .set("LIMITS__CONNECTIONS", "2")
        .set("HTTP__ALLOWED_ORIGINS", ORIGIN);
    let node = node.start().await;
    let balancer = Balancer::before(kind, [node.address(); 3]).await;
    let ask = async |user: &str, fields: &str| {
        let request = format!(
            "GET /v1/events?user={user} HTTP/1.1\r\nHost: a\r\nOrigin: {ORIGIN}\r\n\
             Last-Event-ID: 5-5\r\nConnection: close\r\n{fields}\r\n"
        );
        exchange(balancer.address(), &request, "").await
    };
    let refused = |answer: &Exchanged, status: u16, code: &str, words: &[&str]| {
        assert_eq!(
            (answer.head.status, answer.head.field("content-type")),
            (status, "application/problem+json")
        );
        assert_eq!(answer.head.field("access-control-allow-origin"), ORIGIN, "{answer:?}");
        let problem = serde_json::from_str(&answer.rest).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
        fanfare_testkit::api::check_problem(&problem, status, code, words).unwrap_or_else(|e| panic!("{e}"));
    };
    let _held = StreamRequest::to(balancer.address()).user("7").open().await;
    refused(&ask("7", "Prefer: status\r\n").await, 429, "user-sessions", &["limits.sessions_per_user"]);
    let native = ask("7", "").await;
    assert_eq!(
        (native.head.status, native.head.field("content-type")),
        (200, "text/event-stream"),
        "{native:?}"
    );
    assert!(native.rest.starts_with("id: 5-5\n") && native.rest.contains("event: overloaded"), "{native:?}");
    let _full = StreamRequest::to(balancer.address()).user("8").open().await;
    refused(&ask("9", "Prefer: status\r\n").await, 503, "overloaded", &["limits.connections"]);
}

/// A query, the values of `Last-Event-ID`, and the cursor that counts.
const SEVERAL: [(&str, &[&str], &str); 11] = [
    ("lastEventId=1-1&lastEventId=2-2", &[], "2-2"),
    ("lastEventId=2-2&channel=x&lastEventId=1-1", &[], "1-1"),
    ("last_event_id=1-1&last-event-id=2-2", &[], "2-2"),
    ("lastEventID=1-1&lastEventId=2-2&lastEventId=", &[], "2-2"),
    ("lastEventId=&channel=x&lastEventId=2-2&after=3-3", &[], "2-2"),
    ("after=3-3&lastEventId=2-2", &[""], "2-2"),
    ("after=3-3", &["", ""], "3-3"),
    ("lastEventId=1-1", &["2-2"], "2-2"),
    ("lastEventId=1-1", &["2-2", "2-2"], "2-2"),
    ("lastEventId=1-1", &["2-2", ""], "2-2"),
    ("", &["", "2-2"], "2-2"),
];

#[tokio::test]
async fn of_several_cursors_a_node_and_both_balancers_echo_the_same() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("LIMITS__CONNECTIONS", "1").start().await;
    let nginx = Alone::behind(Kind::Nginx).await;
    let haproxy = Alone::behind(Kind::Haproxy).await;
    let _full = node.stream().user("7").open().await;
    for (query, headers, wanted) in SEVERAL {
        let fields: String = headers.iter().flat_map(|value| ["Last-Event-ID: ", *value, "\r\n"]).collect();
        let request =
            format!("GET /v1/events?user=8&{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
        for (name, to) in [("node", node.address()), ("nginx", nginx.to()), ("HAProxy", haproxy.to())] {
            let answer = exchange(to, &request, "").await;
            assert!(answer.rest.contains("event: overloaded"), "{name}: {answer:?}");
            let id = answer.rest.lines().find_map(|line| line.strip_prefix("id: "));
            // nginx before 1.23 knows only the first of two headers, and later versions join them: then there is no id.
            let unknown = name == "nginx" && headers.len() > 1 && id.is_none();
            assert!(id == Some(wanted) || unknown, "{name}: {query} {headers:?}: {id:?}");
        }
    }
}
