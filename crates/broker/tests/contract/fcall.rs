//! The function library, called by strangers.

use std::time::Duration;

use fanfare_broker::log::PageLimit;
use fanfare_broker::{BrokerSettings, EventLog, Membership, Retention, RetentionRules};
use fanfare_protocol::wire::{Frame, Topic};
use fanfare_protocol::{Pattern, Position, TraceParent};
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::redis::Redis as RedisServer;

use crate::fixture::{Fixture, Redis, Subscriber, channel, new, publication, publish};

async fn call(server: &RedisServer, words: &[&[u8]]) -> Result<(String, u8), String> {
    let mut command: Vec<&[u8]> = vec![b"FCALL", b"fanfare_publish"];
    command.extend(words);
    server.ask(&command).await.map_err(|error| error.to_string())
}

fn key(name: &str) -> String {
    format!("fanfare:{{{name}}}:log")
}

/// Publishes as a stranger does, and answers the error if there is one.
async fn data_error(server: &RedisServer, data: &[u8]) -> Option<String> {
    call(server, &[b"1", key("a").as_bytes(), b"t", data]).await.err()
}

#[tokio::test]
async fn a_stranger_publishes_into_the_same_chain() {
    let redis = new::<Redis>().await;
    let subscriber = Subscriber::open(&redis.broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    let first = publish(&redis.broker, "a", "1").await;
    let (second, repeat) =
        call(&redis.server, &[b"1", key("a").as_bytes(), b"order.paid", b"{\"id\":7}"]).await.unwrap();
    assert_eq!(repeat, 0);
    let second: Position = second.parse().unwrap();
    let message = subscriber.wait_messages("a", 2).await.pop().unwrap();
    let Frame::Kept(entry) = Frame::parse(Topic::Live, &message, 1000).unwrap() else { panic!("not kept") };
    assert_eq!((entry.previous, entry.position), (first, second));
    assert_eq!((entry.event.kind_str(), entry.event.data()), ("order.paid", "{\"id\":7}"));
    let page = redis.broker.page(&channel("a"), first, PageLimit::entries(10)).await.unwrap();
    assert_eq!(*page.entries[0], entry);
}

#[tokio::test]
async fn an_idempotency_key_is_the_same_for_all_publishers() {
    let redis = new::<Redis>().await;
    let plain = key("a");
    let words: [&[u8]; 5] = [b"1", plain.as_bytes(), b"", "größer".as_bytes(), "schlüssel".as_bytes()];
    let (position, repeat) = call(&redis.server, &words).await.unwrap();
    assert_eq!(repeat, 0);
    assert_eq!(call(&redis.server, &words).await.unwrap(), (position.clone(), 1));
    let mut again = publication("a", "other");
    again.key = Some("schlüssel".into());
    let answer = redis.broker.publish(vec![again]).await.pop().unwrap().unwrap();
    assert_eq!((answer.position, answer.repeat), (Some(position.parse().unwrap()), true));
    let page = redis.broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    assert!(page.entries[0].event.kind.is_none(), "an empty type is a plain message");
}

const SESSION: &[u8] = b"0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";

#[tokio::test]
async fn a_stranger_excepts_a_session_with_and_without_a_key() {
    let redis = new::<Redis>().await;
    let subscriber = Subscriber::open(&redis.broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    let log = key("a");
    let session = str::from_utf8(SESSION).unwrap();
    let [user, longest] = ["al/ice", &"u".repeat(250)].map(|user| format!("{user}/{session}"));
    for (key, except) in [("", &*user), ("k", session), ("k", session), ("", &longest)] {
        let words = [b"1", log.as_bytes(), b"t", b"d", key.as_bytes(), except.as_bytes()];
        call(&redis.server, &words).await.unwrap();
    }
    let page = redis.broker.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    let excepted: Vec<_> =
        page.entries.iter().map(|entry| entry.event.excepted().map(ToString::to_string).unwrap()).collect();
    assert_eq!(excepted, [&user, session, &longest]);
    for (message, entry) in subscriber.wait_messages("a", 3).await.iter().zip(&page.entries) {
        assert_eq!(Frame::parse(Topic::Live, message, 1000).unwrap(), Frame::Kept((**entry).clone()));
    }
}

#[tokio::test]
async fn a_stranger_gives_a_trace_and_a_malformed_one_is_ignored() {
    let redis = new::<Redis>().await;
    let subscriber = Subscriber::open(&redis.broker, "n").await;
    subscriber.subscribe(&["a"], 1).await;
    let (log, session) = (key("a"), str::from_utf8(SESSION).unwrap());
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let [zero_trace, zero_span] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"]
        .map(|id| trace.replace(id, &"0".repeat(id.len())));
    let cases = [
        ("", trace.to_owned(), Some(trace.to_owned())),
        (session, trace.to_owned(), Some(trace.to_owned())),
        ("", trace.replace("-01", "-00"), Some(trace.replace("-01", "-00"))),
        ("", format!("fe{}-more", &trace[2..]), Some(trace.to_owned())),
        ("", trace.replace("-01", "-ff"), Some(trace.to_owned())),
        ("", String::new(), None),
        (session, trace.to_uppercase(), None),
        ("", format!("{trace}-more"), None),
        ("", format!("fe{}x", &trace[2..]), None),
        ("", format!("ff{}", &trace[2..]), None),
        ("", zero_trace, None),
        ("", zero_span, None),
        ("", "x".repeat(100_000), None),
    ];
    for (except, trace, wanted) in &cases {
        let words = [b"1", log.as_bytes(), b"t", b"d", b"", except.as_bytes(), trace.as_bytes()];
        call(&redis.server, &words).await.unwrap();
        // As nodes read it.
        assert_eq!(TraceParent::parse(trace.as_bytes()).map(|trace| trace.to_string()), *wanted, "{trace}");
    }
    let messages = subscriber.wait_messages("a", cases.len()).await;
    for ((except, _, wanted), message) in cases.iter().zip(&messages) {
        let Ok(Frame::Kept(entry)) = Frame::parse(Topic::Live, message, 1000) else { panic!("{message:?}") };
        assert_eq!(entry.event.trace().map(ToString::to_string), *wanted);
        let excepted = entry.event.excepted().map(ToString::to_string);
        assert_eq!(excepted.as_deref().unwrap_or_default(), *except);
    }
    // The log has it, too.
    let log: Vec<(String, Vec<String>)> = redis.server.get(&["XRANGE", &log, "-", "+"]).await;
    let kept = log
        .iter()
        .map(|(_, fields)| fields.chunks(2).find(|field| field[0] == "c").map(|field| field[1].clone()));
    assert_eq!(kept.collect::<Vec<_>>(), cases.map(|(_, _, wanted)| wanted));
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let redis = new::<Redis>().await;
    let (log, long) = (key("a"), key(&"x".repeat(256)));
    let log = log.as_bytes();
    let (big, wide) = ("x".repeat(61_441), "x".repeat(129));
    let session = str::from_utf8(SESSION).unwrap();
    let [slash, space, no_user] = [format!("{session}/"), format!("a b/{session}"), format!("/{session}")];
    let long_user = format!("{}/{session}", "u".repeat(251));
    let cases: Vec<(Vec<&[u8]>, &str)> = vec![
        (vec![b"0", b"t", b"d"], "exactly one key is required"),
        (vec![b"2", log, log, b"t", b"d"], "exactly one key is required"),
        (vec![b"1", log], "two to five arguments"),
        (vec![b"1", log, b"t"], "two to five arguments"),
        (vec![b"1", log, b"t", b"d", b"k", SESSION, b"x", b"y"], "two to five arguments"),
        (vec![b"1", b"a", b"t", b"d"], "the key must be fanfare:{<channel>}:log"),
        (vec![b"1", b"fanfare:{a}:last", b"t", b"d"], "the key must be"),
        (vec![b"1", b"other:{a}:log", b"t", b"d"], "the key must be"),
        (vec![b"1", b"fanfare:{:log", b"t", b"d"], "the key must be"),
        (vec![b"1", b"fanfare:{}:log", b"t", b"d"], "empty"),
        (vec![b"1", long.as_bytes(), b"t", b"d"], "256 bytes; at most 255"),
        (vec![b"1", b"fanfare:{a b}:log", b"t", b"d"], "character at byte 1"),
        (vec![b"1", b"fanfare:{a{b}:log", b"t", b"d"], "character at byte 1"),
        (vec![b"1", b"fanfare:{a*}:log", b"t", b"d"], "character at byte 1"),
        (vec![b"1", b"fanfare:{a\0}:log", b"t", b"d"], "character at byte 1"),
        (vec![b"1", "fanfare:{ä}:log".as_bytes(), b"t", b"d"], "character at byte 0"),
        (vec![b"1", log, wide.as_bytes(), b"d"], "129 bytes; at most 128"),
        (vec![b"1", log, b"a\nb", b"d"], "one line"),
        (vec![b"1", log, b"a\rb", b"d"], "one line"),
        (vec![b"1", log, b"a\0b", b"d"], "one line"),
        (vec![b"1", log, b"\xff", b"d"], "the event type is not UTF-8"),
        (vec![b"1", log, b"gap", b"d"], "reserved"),
        (vec![b"1", log, b"end", b"d"], "reserved"),
        (vec![b"1", log, b"t", big.as_bytes()], "61441 bytes; at most 61440"),
        (vec![b"1", log, b"t", b"\xc3"], "the data is not UTF-8"),
        (vec![b"1", log, b"t", b"d", b""], "the key must have 1 to 128"),
        (vec![b"1", log, b"t", b"d", wide.as_bytes()], "the key must have 1 to 128"),
        (vec![b"1", log, b"t", b"d", b"a\nb"], "control characters"),
        (vec![b"1", log, b"t", b"d", b"\0"], "control characters"),
        (vec![b"1", log, b"t", b"d", b"\x7f"], "control characters"),
        (vec![b"1", log, b"t", b"d", "\u{85}".as_bytes()], "control characters"),
        (vec![b"1", log, b"t", b"d", b"\xff"], "UTF-8"),
        (vec![b"1", log, b"t", b"d", b"a\nb", SESSION], "control characters"),
        (vec![b"1", log, b"t", b"d", b"k", b""], "except must be <user>/<session>"),
        (vec![b"1", log, b"t", b"d", b"k", b"alice"], "except must be"),
        (vec![b"1", log, b"t", b"d", b"", b"alice/0b5c"], "except must be"),
        (vec![b"1", log, b"t", b"d", b"", slash.as_bytes()], "except must be"),
        (vec![b"1", log, b"t", b"d", b"", space.as_bytes()], "except must be"),
        (vec![b"1", log, b"t", b"d", b"", no_user.as_bytes()], "except must be"),
        (vec![b"1", log, b"t", b"d", b"", long_user.as_bytes()], "except must be"),
    ];
    for (words, reason) in cases {
        let error = call(&redis.server, &words).await.expect_err(reason);
        assert!(error.contains("FANFARE") && error.contains(reason), "{error:?} has no {reason:?}");
    }
    assert_eq!(redis.server.get::<u64>(&["EXISTS", &key("a")]).await, 0);
}

#[tokio::test]
async fn every_character_of_a_channel_is_allowed() {
    let redis = new::<Redis>().await;
    let name = format!("aZ09{}", fanfare_protocol::channel::CHANNEL_PUNCTUATION);
    call(&redis.server, &[b"1", key(&name).as_bytes(), b"t", b"d"]).await.unwrap();
    assert_eq!(
        redis
            .broker
            .page(&channel(&name), Position::ZERO, PageLimit::entries(9))
            .await
            .unwrap()
            .entries
            .len(),
        1
    );
}

#[tokio::test]
async fn it_knows_what_is_utf8() {
    let redis = new::<Redis>().await;
    // The bytes at which the rules change, in sequences of up to four.
    let edges = [
        0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5,
    ];
    let mut pipeline = redis::Pipeline::new();
    let mut wanted = Vec::new();
    let mut try_bytes = |bytes: Vec<u8>| {
        let mut framed = b"ok ".to_vec();
        framed.extend(&bytes);
        framed.extend("é".bytes());
        wanted.push(std::str::from_utf8(&framed).is_ok());
        pipeline.cmd("FCALL").arg("fanfare_publish").arg(1).arg(key("a")).arg("t").arg(framed);
    };
    for a in edges {
        try_bytes(vec![a]);
        for b in edges {
            try_bytes(vec![a, b]);
            for c in edges {
                try_bytes(vec![a, b, c]);
                if a >= 0xf0 {
                    for d in edges {
                        try_bytes(vec![a, b, c, d]);
                    }
                }
            }
        }
    }
    let mut connection = redis.server.connection().await.unwrap();
    let replies = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await.unwrap();
    let found: Vec<bool> =
        replies.iter().map(|reply| !matches!(reply, redis::Value::ServerError(_))).collect();
    assert_eq!(found, wanted);
    assert!(wanted.iter().any(|ok| *ok) && wanted.len() > 10_000);
    assert!(data_error(&redis.server, "größer \u{1F980} 漢字".repeat(2000).as_bytes()).await.is_none());
}

fn settings(events: usize) -> BrokerSettings {
    let kept = |seconds| Retention { events, age: Duration::from_secs(seconds), ..Retention::default() };
    let rules =
        vec![(Pattern::new("user:*").unwrap(), kept(100)), (Pattern::new("*%x*z").unwrap(), kept(200))];
    let retention = RetentionRules { rules, default: kept(300) };
    BrokerSettings { retention, max_data: 100, ..BrokerSettings::default() }
}

#[tokio::test]
async fn it_keeps_what_the_rules_say() {
    let redis = Redis::with(settings(10)).await;
    for (name, seconds) in [("user:7", 100), ("a%xyz", 200), ("a%xy", 300), ("auser:7", 300), ("%xz", 200)] {
        call(&redis.server, &[b"1", key(name).as_bytes(), b"t", b"d"]).await.unwrap();
        let ttl = redis.server.get::<u64>(&["PTTL", &key(name)]).await;
        assert!(ttl <= seconds * 1000 && ttl > (seconds - 60) * 1000, "{name}: {ttl}");
    }
    for _ in 0..500 {
        call(&redis.server, &[b"1", key("user:7").as_bytes(), b"t", b"d"]).await.unwrap();
    }
    let kept = redis
        .broker
        .page(&channel("user:7"), Position::ZERO, PageLimit::entries(1000))
        .await
        .unwrap()
        .entries
        .len();
    assert!((10..300).contains(&kept), "{kept}");
    assert!(data_error(&redis.server, &[b'x'; 101]).await.unwrap().contains("at most 100"));
}

async fn limit(server: &RedisServer) -> Option<String> {
    data_error(server, "x".repeat(70_000).as_bytes()).await
}

#[tokio::test]
async fn a_node_brings_its_library_once_and_then_only_mends_it() {
    let redis = Redis::with(settings(10)).await;
    assert!(limit(&redis.server).await.unwrap().contains("at most 100"));
    let newer = redis.another(BrokerSettings::default());
    newer.prepare().await.unwrap();
    assert!(limit(&redis.server).await.unwrap().contains("at most 61440"));
    redis.broker.prepare().await.unwrap();
    assert!(limit(&redis.server).await.unwrap().contains("at most 61440"), "not replaced for ever");
    redis.server.get::<()>(&["FUNCTION", "FLUSH"]).await;
    assert!(limit(&redis.server).await.unwrap().contains("not found"));
    redis.broker.prepare().await.unwrap();
    assert!(limit(&redis.server).await.unwrap().contains("at most 100"));
}

#[tokio::test]
async fn an_empty_redis_is_prepared_again() {
    let mut redis = new::<Redis>().await;
    redis.server.stop().await;
    redis.server.start_again().await;
    eventually("Redis is prepared again", || async { redis.broker.prepare().await.is_ok() }).await;
    assert!(data_error(&redis.server, b"d").await.is_none());
    redis.broker.prepare().await.unwrap();
}

#[tokio::test]
async fn two_clusters_share_a_redis_under_their_prefixes() {
    let redis = new::<Redis>().await;
    let settings = fanfare_broker::RedisSettings {
        url: redis.server.url(),
        prefix: "other:x".into(),
        ..Default::default()
    };
    let other = fanfare_broker::RedisBroker::connect(settings, BrokerSettings::default()).unwrap();
    other.prepare().await.unwrap();
    assert!(data_error(&redis.server, b"d").await.is_none());
    let command = ["FCALL", "other_x_publish", "1", "other:x:{a}:log", "t", "theirs"];
    redis.server.get::<(String, u8)>(&command).await;
    let theirs = other.page(&channel("a"), Position::ZERO, PageLimit::entries(10)).await.unwrap();
    assert_eq!(theirs.entries.len(), 1);
    assert_eq!(theirs.entries[0].event.data(), "theirs");
}
