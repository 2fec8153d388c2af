//! The function that appends to finite streams, called by other programs. `docs/finite-streams.md` shows the same calls.

use bytes::Bytes;
use fanfare_broker::stream_store::{Created, Found, NewStream, ReadRange, StreamPage};
use fanfare_broker::{BrokerSettings, StreamSettings, StreamStore};
use fanfare_protocol::finite::{End, EndKind, Life, MediaType, StreamName, messages};
use fanfare_testkit::redis::Redis as RedisServer;

use crate::fixture::{Fixture, Redis, new};

const KEY: &str = "fanfare:{stream:a}:meta";

async fn create(redis: &Redis, kind: &str) {
    let new = NewStream {
        media_type: MediaType::new(kind).unwrap(),
        requested: Life::Unset,
        life: Life::Unset,
        bytes: Bytes::new(),
        end: None,
        fork: None,
        lease: None,
        only_compare: false,
    };
    let created = redis.broker.create_stream(&StreamName::new("a").unwrap(), &new).await.unwrap();
    assert!(matches!(created, Created::New(_)), "{created:?}");
}

async fn append(server: &RedisServer, words: &[&str]) -> Result<(String, u8), String> {
    let mut command = vec!["FCALL", "fanfare_append"];
    command.extend(words);
    server.ask(&command).await.map_err(|error| error.to_string())
}

async fn page(redis: &Redis) -> StreamPage {
    let range = ReadRange { from: Some(0), bytes: 1 << 20, renews: false };
    match redis.broker.read_stream(&StreamName::new("a").unwrap(), range).await.unwrap() {
        Found::Here(page) => page,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_producer_on_plain_redis_appends_and_ends_a_stream() {
    let redis = new::<Redis>().await;
    create(&redis, "text/plain").await;
    let server = &redis.server;
    let (offset, repeated) = append(server, &["1", KEY, "one "]).await.unwrap();
    let read = page(&redis).await;
    assert_eq!((offset, repeated), (read.info.generations.mint(4).to_string(), 0));
    let all = [KEY, "fanfare:{stream:a}:data", "fanfare:{stream:a}:refs"];
    append(server, &["3", all[0], all[1], all[2], "two "]).await.unwrap();
    let numbered = ["1", KEY, "three", "", "", "p", "0", "0"];
    let first = append(server, &numbered).await.unwrap();
    assert_eq!(append(server, &numbered).await.unwrap(), (first.0, 1));
    append(server, &["1", KEY, "!", "cancelled", "Stop was pressed"]).await.unwrap();
    let read = page(&redis).await;
    assert_eq!(read.bytes, "one two three!");
    let end = End { kind: EndKind::Cancelled, reason: "Stop was pressed".to_owned() };
    assert_eq!(read.info.end, Some(end));
    let late = append(server, &["1", KEY, "late"]).await.unwrap_err();
    assert!(late.contains("the stream has ended: cancelled (Stop was pressed)"), "{late}");
    assert_eq!(page(&redis).await, read);
}

#[tokio::test]
async fn what_is_wrong_with_an_append_is_said_and_changes_nothing() {
    let streams = StreamSettings { bytes: 10, producers: 1, ..StreamSettings::default() };
    let redis = Redis::with(BrokerSettings { streams, ..BrokerSettings::default() }).await;
    create(&redis, "text/plain").await;
    append(&redis.server, &["1", KEY, "abc", "", "", "p", "1", "0"]).await.unwrap();
    let before = page(&redis).await;
    let long = "x".repeat(257);
    for (words, wrong) in [
        (vec!["0"], "exactly one key"),
        (vec!["2", KEY, KEY, "x"], "exactly one key"),
        (vec!["3", KEY, KEY, KEY, "x"], "the second and the third key must be fanfare:{stream:a}:data"),
        (vec!["1", "a", "x"], "the key must be fanfare:{stream:<name>}:meta"),
        (vec!["1", "fanfare:{stream:}:meta", "x"], "the key must be"),
        (vec!["1", "fanfare:{stream:b}:meta", "x"], "there is no such stream"),
        (vec!["1", KEY], "one to three arguments"),
        (vec!["1", KEY, "x", "", "", "p"], "one to three arguments"),
        (vec!["1", KEY, ""], "there are no bytes"),
        (vec!["1", KEY, "x", "done"], "must be complete, error or cancelled"),
        (vec!["1", KEY, "x", "", "why"], "a reason needs an end"),
        (vec!["1", KEY, "x", "error", "ü"], "visible ASCII"),
        (vec!["1", KEY, "x", "error", &long], "at most 256 bytes"),
        (vec!["1", KEY, "x", "", "", "", "0", "0"], "the producer's id"),
        (vec!["1", KEY, "x", "", "", &long, "0", "0"], "the producer's id"),
        (vec!["1", KEY, "x", "", "", "p", "-1", "0"], "whole numbers"),
        (vec!["1", KEY, "x", "", "", "p", "0", "9007199254740992"], "whole numbers"),
        (vec!["1", KEY, "x", "", "", "p", "1", "1e3"], "whole numbers"),
        (vec!["1", KEY, "x", "", "", "p", "1", "2"], "the producer's number must be 1"),
        (vec!["1", KEY, "x", "", "", "p", "0", "1"], "has begun the epoch 1"),
        (vec!["1", KEY, "x", "", "", "p", "2", "1"], "must be 0"),
        (vec!["1", KEY, "x", "", "", "q", "0", "0"], "too many producers"),
        (vec!["1", KEY, "12345678"], "more than 10 bytes"),
    ] {
        let refused = append(&redis.server, &words).await.unwrap_err();
        assert!(refused.contains(wrong), "{words:?}: {refused}");
    }
    assert_eq!(page(&redis).await, before);
}

/// Everything that the node takes as one message on one line is taken, and nothing else.
#[tokio::test]
async fn a_message_is_json_as_the_node_reads_it() {
    let redis = new::<Redis>().await;
    create(&redis, "application/json").await;
    let texts = [
        "1",
        "-0",
        "0",
        "12345678901234567890",
        "1.5e-3",
        "1E5",
        "\"a\"",
        "\"\\\"\\u00e4 x\"",
        "true",
        "null",
        "{}",
        "{\"a\":[1,{\"b\":\"NaN, 01\"}]}",
        "\"\"",
        "\"ä€😀\"",
        "{\"a\" : 1}",
        "",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "0x10",
        "-",
        "NaN",
        "nan",
        "Infinity",
        "-inf",
        "True",
        "nul",
        "{",
        "[1,]",
        "{\"a\"}",
        "'a'",
        "\"a",
        "\"\\x\"",
        "1 2",
        "[1]x",
        "\"a\tb\"",
        "{\"a\":1,}",
        "tru\"\"e",
    ];
    let mut wanted = Vec::new();
    for text in texts {
        let ours = append(&redis.server, &["1", KEY, text]).await;
        let node = messages::lines(text.as_bytes());
        assert_eq!(ours.is_ok(), node.is_ok(), "{text}: {ours:?}, {node:?}");
        if ours.is_ok() {
            wanted.push(text);
        }
    }
    let read = page(&redis).await.bytes;
    assert_eq!(String::from_utf8(messages::array(&read)).unwrap(), format!("[{}]", wanted.join(",")));
    // An array is one message here.
    append(&redis.server, &["1", KEY, "[1,2]"]).await.unwrap();
    let long = format!("\"{}\"", "x".repeat(65_536));
    let refused = append(&redis.server, &["1", KEY, &long]).await.unwrap_err();
    assert!(refused.contains("at most 65536"), "{refused}");
}
