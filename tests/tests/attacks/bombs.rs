//! Messages that grow as they are read: memory for a request is at most three times its bytes, whatever is in it.

use std::time::Duration;

use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::exchange::exchange;
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::ephemeral_topic;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const BODY: usize = 8 << 20;
/// What a node takes for anything: an allocator's arenas, a connection, an answer.
const SLACK: u64 = 6 << 20;

/// JSON that begins and ends like this, filled with as many of `item` as fit.
fn filled(begin: &str, item: &str, between: &str, end: &str, size: usize) -> String {
    let count = (size - begin.len() - end.len() - between.len()) / (item.len() + between.len());
    let mut text = String::with_capacity(size);
    text.push_str(begin);
    for n in 0..count {
        if n > 0 {
            text.push_str(between);
        }
        text.push_str(item);
    }
    text + end
}

/// Shapes of JSON that parsers, trees and error messages are known to take more for than they are.
fn shapes(size: usize) -> Vec<(&'static str, String)> {
    let nested = "[".repeat(100) + &"]".repeat(100);
    let thousand = |item: &str| format!("[{}]", vec![item; 1000].join(","));
    let name = "n".repeat(size / 1100);
    let channels = (0..1000).map(|n| format!("\"c{n}\"")).collect::<Vec<_>>().join(",");
    let channels = format!("\"channels\":[{channels}]");
    vec![
        ("arrays in arrays", filled(r#"{"channel":"a","data":["#, &nested, ",", "]}", size)),
        ("empty arrays", filled(r#"{"channel":"a","data":["#, "[]", ",", "]}", size)),
        ("empty objects", filled(r#"{"channel":"a","data":["#, "{}", ",", "]}", size)),
        ("small numbers", filled(r#"{"channel":"a","data":["#, "1", ",", "]}", size)),
        ("members", filled(r#"{"channel":"a","data":{"#, r#""":0"#, ",", "}}", size)),
        ("escapes", filled(r#"{"channel":"a","data":""#, "\\u0041", "", "\"}", size)),
        ("control characters", filled(r#"{"channel":"a","data":""#, "\\u0000", "", "\"}", size)),
        ("a long type", filled(r#"{"channel":"a","data":1,"type":""#, "\\n", "", "\"}", size)),
        ("a long channel", filled(r#"{"data":1,"channel":""#, "\\u0061", "", "\"}", size)),
        ("a long key", filled(r#"{"channel":"a","data":1,"key":""#, "k", "", "\"}", size)),
        (
            "a long key for many channels",
            filled(&format!(r#"{{{channels},"data":1,"key":""#), "k", "", "\"}", size),
        ),
        (
            "a long type for many channels",
            filled(&format!(r#"{{{channels},"data":1,"type":""#), "t", "", "\"}", size),
        ),
        (
            "a long except for many channels",
            filled(&format!(r#"{{{channels},"data":1,"except":""#), "e", "", "\"}", size),
        ),
        ("channels that are too many", filled(r#"{"data":1,"channels":["#, "\"a\"", ",", "]}", size)),
        ("a long unknown field", filled(r#"{"channel":"a","data":1,""#, "\\u0061", "", "\":1}", size)),
        ("items that are too many", filled("[", "0", ",", "]", size)),
        ("objects that are too many", filled("[", "{}", ",", "]", size)),
        ("items with long unknown fields", thousand(&format!(r#"{{"{name}":1}}"#))),
        ("items with long types", thousand(&format!(r#"{{"channel":"a","data":1,"type":"{name}"}}"#))),
        ("items of escapes", thousand(&filled(r#"{"channel":"a","data":""#, "\\t", "", "\"}", size / 1100))),
        ("no end", "[".repeat(size)),
        ("no end within", format!("{{\"channel\":\"a\",\"data\":{}", "{\"\":".repeat(size / 5 - 10))),
        ("a number", filled(r#"{"channel":"a","data":"#, "1", "", "}", size)),
        ("white space", filled(r#"{"channel":"a","data":["#, " ", "", "]}", size)),
    ]
}

#[tokio::test]
async fn a_body_takes_at_most_three_times_its_bytes_whatever_is_in_it() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let headers = [("content-type", "application/json")];
    let mut over = Vec::new();
    for (name, body) in shapes(BODY) {
        let bytes = body.len() as u64;
        assert!(bytes <= BODY as u64 && bytes > BODY as u64 / 2, "{name} has {bytes} bytes");
        node.forget_peak();
        let before = node.memory();
        let answer = node.api().call("POST", "/v1/publish", &headers, body).await.unwrap();
        assert!([200, 400, 413].contains(&answer.status), "{name}: {} {:.200}", answer.status, answer.text);
        let more = node.peak_memory().saturating_sub(before);
        if more > 3 * bytes + SLACK {
            over.push(format!("{name}: {} MiB for {} MiB", more >> 20, bytes >> 20));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

#[tokio::test]
async fn a_message_on_a_live_topic_takes_a_few_times_its_bytes_whatever_is_in_it() {
    const MESSAGE: usize = 20 << 20;
    let redis = Redis::with_arguments(&["--client-output-buffer-limit", "pubsub 0 0 0"]).await;
    // A busy machine may take long to read it: the connection is not to be given up for that.
    let node = Node::of(&redis).set("REDIS__PROBE_TIMEOUT", "60s").start().await;
    let mut victim = node.stream().user("7").open().await;
    let mut connection = redis.connection().await.unwrap();
    for (before_it, name) in [(0.0, "arrays in arrays"), (1.0, "escapes"), (2.0, "no end")] {
        let (_, message) = shapes(MESSAGE).into_iter().find(|shape| shape.0 == name).unwrap();
        let message = message.replacen(r#""channel":"a","#, "", 1);
        node.forget_peak();
        let before = node.memory();
        let receivers: u64 = redis::cmd("PUBLISH")
            .arg(ephemeral_topic("user:7"))
            .arg(&message)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(receivers, 1);
        until("it is dropped and counted", SOON, async || {
            let counted = node.metrics().await.sum("fanfare_pubsub_malformed_total", &[]);
            if counted > before_it { Ok(()) } else { Err(format!("{counted} so far")) }
        })
        .await;
        let more = node.peak_memory().saturating_sub(before);
        // As it was read into a buffer that doubles, and once more as the message.
        assert!(more <= 4 * MESSAGE as u64, "{name}: {} MiB for {} MiB", more >> 20, MESSAGE >> 20);
        node.api().publish("user:7", "note", name).await;
        victim.expect_data(name).await;
    }
}

#[tokio::test]
async fn a_token_without_any_publish_grant_is_refused_before_its_body_comes() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let token = Token::of("7").subscribe(&["*"]).sign();
    let head = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {BODY}\r\n"
    );
    // The rest of the body never comes.
    let answer = exchange(node.address(), &format!("{head}\r\n{{"), "no-grant").await;
    assert_eq!(answer.head.status, 403, "{answer:?}");
    let answer = exchange(node.address(), &format!("{head}Expect: 100-continue\r\n\r\n"), "no-grant").await;
    assert_eq!(answer.head.status, 403, "{answer:?}");
    // All of it comes, and nothing of it is kept.
    node.forget_peak();
    let before = node.memory();
    let mut socket = TcpStream::connect(node.address()).await.unwrap();
    socket.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    socket.write_all(&vec![b'['; BODY]).await.unwrap();
    let mut answer = [0; 12];
    timeout(Duration::from_secs(5), socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    let more = node.peak_memory().saturating_sub(before);
    assert!(more < BODY as u64 / 2, "{} KiB", more >> 10);
}
