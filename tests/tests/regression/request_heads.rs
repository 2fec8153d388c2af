//! A native `EventSource` repeats its URL at each reconnect, adds its cursor, and gives up for good on any status but
//! 200. nginx answered 414 to 240 channels of 40 characters; `HAProxy` took the first connect of some and refused the
//! reconnect.

use std::fmt::Write;
use std::net::SocketAddr;

use fanfare_protocol::cursor::{self, MAX_CURSOR_BYTES};
use fanfare_testkit::balancer::{Balancer, Kind};
use fanfare_testkit::exchange::{Exchanged, exchange};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;

/// `limits.head_bytes`.
const LIMIT: usize = 32 * 1024;
/// What is kept for header fields other than the cursor's.
const FIELDS: usize = 8 * 1024;
/// As many as a stream may follow.
const CHANNELS: usize = 256;

/// A node behind both balancers, and itself.
struct Ways {
    all: Vec<(&'static str, SocketAddr)>,
    _parts: (Vec<Balancer>, Node, Redis),
}

async fn ways() -> Ways {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut all = vec![("directly", node.address())];
    let mut balancers = Vec::new();
    for (name, kind) in [("nginx", Kind::Nginx), ("HAProxy", Kind::Haproxy)] {
        let balancer = Balancer::before(kind, [node.address(); 3]).await;
        all.push((name, balancer.address()));
        balancers.push(balancer);
    }
    Ways { all, _parts: (balancers, node, redis) }
}

/// The longest URL that a stream of so many channels may have.
fn longest_url(channels: usize) -> usize {
    let cursor = "last-event-id: \r\n".len() + cursor::longest(channels);
    LIMIT - FIELDS - cursor - "GET  HTTP/1.1\r\n\r\n".len()
}

/// A URL of exactly so many bytes that follows so many channels, the user's own and `broadcast` among them.
fn url(length: usize, channels: usize) -> String {
    let mut url = "/v1/events?user=7".to_owned();
    let names = channels - 2;
    for n in 0..names {
        let left = length - url.len();
        // Even shares of what is left.
        let name = left / (names - n) - "&channel=".len();
        let _ = write!(url, "&channel={n:x<name$}");
    }
    assert_eq!(url.len(), length);
    url
}

async fn ask(to: SocketAddr, url: &str, fields: &str) -> Exchanged {
    let request = format!("GET {url} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
    exchange(to, &request, "event: connected").await
}

/// The id that the stream begins with.
fn id(answer: &Exchanged) -> String {
    let line = answer.rest.lines().find_map(|line| line.strip_prefix("id: "));
    line.unwrap_or_else(|| panic!("no id in {answer:?}")).to_owned()
}

#[tokio::test]
async fn a_stream_of_240_channels_of_40_characters_is_served_and_comes_back_with_and_without_a_balancer() {
    let ways = ways().await;
    let channels: Vec<_> = (0..240).map(|n| format!("&channel=room:{n:04}:{:x<30}", "")).collect();
    let url = format!("/v1/events?user=7{}", channels.concat());
    for (way, to) in &ways.all {
        let first = ask(*to, &url, "").await;
        assert_eq!(first.head.status, 200, "{way}");
        let again = ask(*to, &url, &format!("Last-Event-ID: {}\r\n", id(&first))).await;
        assert_eq!(again.head.status, 200, "{way}: the reconnect");
    }
}

#[tokio::test]
async fn the_longest_url_comes_back_with_a_cursor_in_both_places_and_all_the_header_fields_it_may_have() {
    let ways = ways().await;
    let url = url(longest_url(CHANNELS), CHANNELS);
    for (way, to) in &ways.all {
        let first = ask(*to, &url, "").await;
        assert_eq!(first.head.status, 200, "{way}: {first:?}");
        let cursor = id(&first);
        let share = FIELDS - "host: a\r\nconnection: close\r\ncookie: a=\r\n".len();
        let fields = format!("Last-Event-ID: {cursor}\r\nCookie: a={:c<share$}\r\n", "");
        let again = ask(*to, &format!("{url}&after={cursor}"), &fields).await;
        assert_eq!(again.head.status, 200, "{way}: the reconnect, of {} bytes", url.len() + fields.len());
        // One that is as long as can be is no cursor of this node's, and is read and refused as one.
        let longest = format!("Last-Event-ID: a{:A<1$}\r\n", "", MAX_CURSOR_BYTES - 1);
        let again = ask(*to, &url, &longest).await;
        assert!(again.head.status == 400 && again.rest.contains("bad-cursor"), "{way}: {again:?}");
    }
}

#[tokio::test]
async fn a_url_with_too_little_room_for_its_cursor_is_refused_at_the_first_connect_and_never_at_a_reconnect_only()
 {
    let ways = ways().await;
    // The last is as long as names, or a line that balancers let through, may be.
    for (channels, far) in [(100, 4000), (CHANNELS, LIMIT - longest_url(CHANNELS) - 100)] {
        for (over, status) in [(0, 200), (1, 431), (far, 431)] {
            let url = url(longest_url(channels) + over, channels);
            for (way, to) in &ways.all {
                for fields in ["", "Last-Event-ID: 17-3\r\n"] {
                    let answer = ask(*to, &url, fields).await;
                    let case = format!("{way}, {channels} channels, {over} over, {fields:?}");
                    assert_eq!(answer.head.status, status, "{case}");
                    if status == 431 {
                        assert_eq!(answer.head.field("content-type"), "application/problem+json", "{case}");
                        assert!(answer.rest.contains("head-too-large"), "{case}: {}", answer.rest);
                        assert!(answer.rest.contains("limits.head_bytes"), "{case}: {}", answer.rest);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn any_other_call_may_have_a_head_of_the_limit_and_is_refused_when_it_has_more() {
    let ways = ways().await;
    let (_, node) = ways.all[0];
    let request = |length: usize| {
        let text = |filling: usize| {
            format!("GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {:x<filling$}\r\n\r\n", "")
        };
        text(length - text(0).len())
    };
    assert_eq!(exchange(node, &request(LIMIT), "").await.head.status, 200);
    let answer = exchange(node, &request(LIMIT + 1), "").await;
    assert_eq!((answer.head.status, answer.head.field("content-type")), (431, "application/problem+json"));
    assert!(answer.rest.contains("32769") && answer.rest.contains("limits.head_bytes"), "{}", answer.rest);
    // Behind a balancer, which adds to it: one that is clearly over.
    for (way, to) in &ways.all {
        let answer = exchange(*to, &request(LIMIT + 100), "").await;
        assert_eq!(answer.head.status, 431, "{way}");
        assert!(answer.rest.contains("head-too-large"), "{way}: {}", answer.rest);
    }
}

/// More than 100 fields were refused with 431, without a reason and without CORS headers.
#[tokio::test]
async fn a_head_of_too_many_fields_is_refused_with_the_reason_to_a_page_too() {
    const ORIGIN: &str = "https://app.example";
    let redis = Redis::start().await;
    let node = Node::of(&redis).set("HTTP__ALLOWED_ORIGINS", ORIGIN).start().await;
    for (more, status) in [(107, 200), (108, 431), (157, 431)] {
        // With the three of the request itself.
        let fields = (0..more).map(|n| format!("X-{n}: x\r\n")).collect::<Vec<_>>().concat();
        for url in ["/v1/events?user=7", "/v1/users/7/sessions"] {
            let request = format!(
                "GET {url} HTTP/1.1\r\nHost: a\r\nOrigin: {ORIGIN}\r\nConnection: close\r\n{fields}\r\n"
            );
            // A stream goes on.
            let enough = if status == 200 && url.contains("events") { "event: connected" } else { "" };
            let answer = exchange(node.address(), &request, enough).await;
            let head = &answer.head;
            assert_eq!(head.status, status, "{url}, {more}: {answer:?}");
            assert_eq!(head.field("access-control-allow-origin"), ORIGIN, "{url}, {more}: {answer:?}");
            if status == 431 {
                assert_eq!(head.field("content-type"), "application/problem+json", "{answer:?}");
                assert!(answer.rest.contains("header fields; the limit is 110"), "{answer:?}");
            }
        }
    }
}
