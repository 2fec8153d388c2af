//! Bodies that do not end, and answers that are not taken.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::exchange::exchange;
use fanfare_testkit::frames::{DATA, END_STREAM, Frames, INITIAL_WINDOW, WINDOW_UPDATE, frame};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::tcp;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const BODY: usize = 8 << 20;

fn head(length: usize) -> String {
    format!(
        "POST /v1/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

async fn held(node: &Node, kind: &str) -> f64 {
    node.metrics().await.sum("fanfare_memory_bytes", &[&format!("kind=\"{kind}\"")])
}

#[tokio::test]
async fn bodies_of_one_address_that_do_not_end_leave_room_for_others() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let before = node.memory();
    let mut attack = JoinSet::new();
    for _ in 0..40 {
        let to = node.address();
        attack.spawn(async move {
            let mut socket = tcp::connect(to, Some(ATTACKER), None).await.unwrap();
            let _ = socket.write_all(head(BODY).as_bytes()).await;
            let _ = socket.write_all(&vec![b' '; BODY - 1]).await;
            // Refused, or held until it is too slow, which takes almost as long as SOON. The node closes only when the answer is
            // read.
            let mut answer = [0; 12];
            let read = timeout(3 * SOON, socket.read_exact(&mut answer)).await;
            (read.map(|read| read.map(drop)), String::from_utf8_lossy(&answer).into_owned())
        });
    }
    until("the address has used up its quarter", SOON, async || {
        let refused = node
            .metrics()
            .await
            .sum("fanfare_memory_refused_total", &["kind=\"bodies\"", "scope=\"address\""]);
        if refused >= 1.0 { Ok(()) } else { Err(format!("{refused} refused")) }
    })
    .await;
    assert!(held(&node, "bodies").await <= f64::from(64 << 20));
    node.api().publish("a", "note", "others publish").await;
    let more = node.memory().saturating_sub(before);
    assert!(more < 200 << 20, "{} MiB", more >> 20);
    let mut refused = 0;
    while let Some(attack) = attack.join_next().await {
        let (read, answer) = attack.unwrap();
        assert!(["HTTP/1.1 429", "HTTP/1.1 408"].contains(&&*answer), "{answer:?} {read:?}");
        refused += usize::from(answer.ends_with("429"));
    }
    assert!(refused >= 30, "{refused} refused of 40");
    assert!(held(&node, "bodies").await < 1.0);
}

#[tokio::test]
async fn bodies_of_one_connection_that_do_not_end_are_bounded_together() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let before = node.memory();
    let socket = tcp::connect(node.address(), Some(ATTACKER), None).await.unwrap();
    let (requests, connection) = h2::client::handshake(socket).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut attack = JoinSet::new();
    for _ in 0..16 {
        let mut requests = requests.clone().ready().await.unwrap();
        let request = Request::post("http://a/v1/publish").header("content-type", "application/json");
        let (response, mut body) = requests.send_request(request.body(()).unwrap(), false).unwrap();
        attack.spawn(async move {
            let send = async {
                let mut left = BODY - 1;
                while left > 0 {
                    body.reserve_capacity(left.min(64 << 10));
                    let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else {
                        return;
                    };
                    let piece = room.min(left);
                    if body.send_data(Bytes::from(vec![b' '; piece]), false).is_err() {
                        return;
                    }
                    left -= piece;
                }
            };
            // All but the last byte: the node answers before the end.
            let (answer, ()) = tokio::join!(response, send);
            answer.map(|answer| answer.status().as_u16()).ok()
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = attack.join_next().await {
        answers.push(answer.unwrap().expect("an answer"));
    }
    assert!(answers.iter().all(|status| [408, 429].contains(status)), "{answers:?}");
    assert!(answers.iter().filter(|status| **status == 429).count() >= 13, "{answers:?}");
    let more = node.peak_memory().saturating_sub(before);
    assert!(more < 80 << 20, "{} MiB", more >> 20);
    driver.abort();
}

#[tokio::test]
async fn a_body_that_dribbles_is_refused_by_its_rate_long_before_it_is_too_late() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .set("HTTP__MIN_RATE_WINDOW", "1s")
        .set("HTTP__BODY_READ_TIMEOUT", "10m")
        .start()
        .await;
    let answer = exchange(node.address(), &format!("{}{{", head(1000)), "http.min_rate").await;
    assert_eq!(answer.head.status, 408, "{answer:?}");
}

/// A client that reads its answer late, after it has sent all of a body that was refused long before (RFC 9112, section 9.6).
#[tokio::test]
async fn the_answer_to_a_refused_body_outlives_what_the_client_sends_on() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let mut socket = tcp::connect(node.address(), None, None).await.unwrap();
    socket.write_all(head(BODY + 1).as_bytes()).await.unwrap();
    // The answer is there, and not read.
    timeout(SOON, socket.readable()).await.expect("it is refused by its length").unwrap();
    for piece in vec![b' '; BODY + 1].chunks(256 << 10) {
        socket.write_all(piece).await.expect("the node takes what comes");
    }
    let mut answer = Vec::new();
    // To its end: a reset would be an error.
    timeout(SOON, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.ends_with('}'), "{answer}");
}

/// Starts a node that cuts slow clients off after a second, with a channel of which a page of history is large.
async fn with_a_large_page(redis: &Redis) -> Node {
    let node = Node::of(redis).set("HTTP__MIN_RATE_WINDOW", "1s").start().await;
    for n in 0..20 {
        node.api().publish("a", "note", &n.to_string().repeat(25_000)).await;
    }
    node
}

const LARGE_PAGE: &str = "/v1/channels/a/events?limit=1000";

#[tokio::test]
async fn answers_over_http2_that_are_taken_byte_by_byte_are_cut_off() {
    let redis = Redis::start().await;
    let node = with_a_large_page(&redis).await;
    // A window of nothing, and a byte more each time.
    let mut client = Frames::connect(node.address(), &[(INITIAL_WINDOW, 0)]).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(client.request("GET", LARGE_PAGE, &[], false).await.unwrap());
    }
    until("answers are held", SOON, async || {
        let answers = held(&node, "responses").await;
        if answers > 1e6 { Ok(()) } else { Err(format!("{answers} bytes")) }
    })
    .await;
    until("nothing is held any more", SOON, async || {
        for stream in &streams {
            let _ = client.send(&frame(WINDOW_UPDATE, 0, *stream, &1_u32.to_be_bytes())).await;
        }
        // The client's pace, far below http.min_rate.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answers = held(&node, "responses").await;
        // The answer with the metrics is one, too.
        if answers < 1e5 { Ok(()) } else { Err(format!("{answers} bytes")) }
    })
    .await;
}

#[tokio::test]
async fn an_answer_over_http1_that_is_taken_byte_by_byte_is_cut_off() {
    let redis = Redis::start().await;
    let node = with_a_large_page(&redis).await;
    // With a small buffer, of which a byte is read each time.
    let mut slow = tcp::connect(node.address(), None, Some(2048)).await.unwrap();
    let asked = format!("GET {LARGE_PAGE} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(20);
    slow.write_all(asked.as_bytes()).await.unwrap();
    let mut taken = 0;
    until("the connection is cut off, and nothing is held any more", SOON, async || {
        let byte = timeout(Duration::from_millis(50), slow.read(&mut [0])).await;
        taken += byte.map_or(0, |read| read.unwrap_or(0));
        let errors = node.metrics().await.sum("fanfare_http_connection_errors_total", &[]);
        let answers = held(&node, "responses").await;
        if errors >= 1.0 && answers < 1e5 { Ok(()) } else { Err(format!("{errors} errors, {answers} bytes")) }
    })
    .await;
    assert!(taken > 0, "the client read");
}

#[tokio::test]
async fn an_answer_that_finds_no_room_says_so_and_others_go_on() {
    let redis = Redis::start().await;
    // Metrics are read where memory is another.
    let node = Node::of(&redis)
        .set("LIMITS__MEMORY", "40MiB")
        .set("LIMITS__BATCH_BYTES", "128KiB")
        .admin()
        .start()
        .await;
    for n in 0..5 {
        node.api().publish("a", "note", &n.to_string().repeat(50_000)).await;
    }
    let mut client = Frames::connect(node.address(), &[(INITIAL_WINDOW, 0)]).await.unwrap();
    let path = "/v1/channels/a/events?limit=1000";
    // One after the other: while an answer is made, more is held than it has.
    for made in [2.5e5..2.6e5, 5e5..5.2e5] {
        client.request("GET", path, &[], false).await.unwrap();
        until("another answer is held", SOON, async || {
            let answers = held(&node, "responses").await;
            if made.contains(&answers) { Ok(()) } else { Err(format!("{answers} bytes")) }
        })
        .await;
    }
    let refused = client.request("GET", path, &[], false).await.unwrap();
    until("the third is refused", SOON, async || {
        let refused = node.metrics().await.sum("fanfare_memory_refused_total", &["scope=\"connection\""]);
        if refused >= 1.0 { Ok(()) } else { Err("not yet") }
    })
    .await;
    client.send(&frame(WINDOW_UPDATE, 0, refused, &100_000_u32.to_be_bytes())).await.unwrap();
    let (status, body) = client.answer(refused).await;
    assert_eq!(status, 429, "{}", String::from_utf8_lossy(&body));
    assert!(String::from_utf8_lossy(&body).contains("share-used"));
    drop(client);
    until("others are answered", SOON, async || match node.api().get(path).await.status {
        200 => Ok(()),
        status => Err(status),
    })
    .await;
}

/// What a client sends within its windows is in memory before a handler reads it.
#[tokio::test]
async fn bodies_over_http_2_count_for_what_their_client_may_send_before_it_is_read() {
    const CONNECTION: f64 = 512.0 * 1024.0;
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .set("LIMITS__MEMORY", "40MiB")
        .set("LIMITS__BATCH_BYTES", "128KiB")
        .set("HTTP__MIN_RATE_WINDOW", "5m")
        .set("HTTP__BODY_READ_TIMEOUT", "5m")
        .admin()
        .start()
        .await;
    let json = ("content-type", "application/json");
    let becomes = async |bytes: f64| {
        until(&format!("{bytes} bytes are held"), SOON, async || {
            let held = held(&node, "bodies").await;
            if (held - bytes).abs() < 0.5 { Ok(()) } else { Err(format!("{held} bytes")) }
        })
        .await;
    };
    let mut clients = Vec::new();
    for n in 1..=3_u32 {
        let mut client = Frames::connect_from(node.address(), Some(ATTACKER), &[]).await.unwrap();
        for _ in 0..6 {
            client.request("POST", "/v1/publish", &[json], true).await.unwrap();
        }
        becomes(f64::from(n) * CONNECTION).await;
        clients.push(client);
    }
    // An address has a quarter of 8 MiB.
    let mut client = Frames::connect_from(node.address(), Some(ATTACKER), &[]).await.unwrap();
    let mut last = 0;
    for _ in 0..4 {
        last = client.request("POST", "/v1/publish", &[json], true).await.unwrap();
    }
    // Nothing of its body is kept.
    client.send(&frame(DATA, 0, last, &[b' '; 16 * 1024])).await.unwrap();
    let (status, body) = client.answer(last).await;
    let body = String::from_utf8_lossy(&body);
    assert!(status == 429 && body.contains("share-used"), "{status} {body}");
    drop(client);
    becomes(3.0 * CONNECTION).await;
    // A body whose length is known counts for no more than that, and others go on.
    let mut other = Frames::connect(node.address(), &[]).await.unwrap();
    let text = br#"{"channel":"a","data":1}"#;
    let length = text.len().to_string();
    let stream =
        other.request("POST", "/v1/publish", &[json, ("content-length", &length)], true).await.unwrap();
    becomes(3.0 * CONNECTION + 24.0).await;
    other.send(&frame(DATA, END_STREAM, stream, text)).await.unwrap();
    assert_eq!(other.answer(stream).await.0, 200);
    drop(clients);
    becomes(0.0).await;
}
