//! Floods of one user or one address: refused by their own limits, at no cost to others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fanfare_testkit::api::Answer;
use fanfare_testkit::client::End;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::token::Token;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Asks for streams again and again over one connection, fifty at a time, until it is dropped.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Flood {
    pub(crate) fn new() -> Self {
        Self { stop: Arc::default(), answers: Arc::default(), tasks: JoinSet::new() }
    }

    /// Adds a connection. `request` makes the text of the next one.
    pub(crate) fn over(
        &mut self,
        (from, to): (Ipv4Addr, SocketAddr),
        mut request: impl FnMut() -> String + Send + 'static,
    ) {
        let (stop, answers) = (Arc::clone(&self.stop), Arc::clone(&self.answers));
        self.tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let requests: String = (0..50).map(|_| request()).collect();
                let mut socket = connect(from, to).await;
                // A connection that a stream took over, or that was closed, is replaced.
                if socket.write_all(requests.as_bytes()).await.is_err() {
                    continue;
                }
                let mut bytes = vec![0; 64 * 1024];
                let mut seen = 0;
                while seen < 50 && !stop.load(Ordering::Relaxed) {
                    let Ok(read @ 1..) = socket.read(&mut bytes).await else { break };
                    let text = String::from_utf8_lossy(&bytes[..read]);
                    let heads = text.matches("HTTP/1.1 ").count();
                    seen += heads;
                    answers.fetch_add(heads, Ordering::Relaxed);
                    if text.contains("event: connected") {
                        break;
                    }
                }
            }
        });
    }

    /// Waits until it was answered so often.
    pub(crate) async fn is_answered(&self, times: usize) {
        let begun = self.answers.load(Ordering::Relaxed);
        until("the flood is answered", SOON, async || {
            let answered = self.answers.load(Ordering::Relaxed) - begun;
            if answered >= times { Ok(()) } else { Err(format!("{answered} answers")) }
        })
        .await;
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.bind((from, 0).into()).expect("a loopback address can be bound");
    socket.connect(to).await.expect("the node listens")
}

/// A request for a stream that is answered by a status if it is refused.
pub(crate) fn ask(token: &str) -> String {
    format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nPrefer: status\r\n\r\n")
}

/// Requests for streams of so many users that no user's limit is reached.
pub(crate) fn of_many_users(flood: usize) -> impl FnMut() -> String + Send + 'static {
    let all: Vec<String> = (0..300).map(|n| ask(&Token::of(&format!("bot{flood}-{n}")).sign())).collect();
    let mut next = 0;
    move || {
        next += 1;
        all[next % all.len()].clone()
    }
}

/// A node that opens few enough streams a second for a flood to use all of them up.
fn small(node: NodeBuilder) -> NodeBuilder {
    node.auth("jwt").set("LIMITS__CONNECTS_PER_SECOND", "300").set("LIMITS__USER__CONNECTS_PER_SECOND", "20")
}

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

/// Asks until it is refused for this reason, which it is unless a place has just become free; a native `EventSource` survives
/// each answer.
async fn is_refused(request: &StreamRequest, reason: &str) {
    until("the reason is the rate", SOON, async || {
        let mut client = request.clone().send().await;
        assert_eq!(client.status(), 200, "a native EventSource gives up on anything else");
        let first = client.next().await;
        if first.kind == "connected" {
            return Err(first.data.to_string());
        }
        assert_eq!(first.kind, "overloaded");
        assert!(client.retry().is_some_and(|retry| !retry.is_zero()));
        assert_eq!(client.end().await, End::Clean);
        if first.json()["reason"] == reason { Ok(()) } else { Err(first.data.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_users_flood_of_connects_turns_no_one_else_away() {
    let redis = Redis::start().await;
    let node = small(Node::of(&redis)).set("LIMITS__SESSIONS_PER_USER", "3").start().await;
    let eve = Token::of("eve").sign();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(node.stream().token(&eve).open().await);
    }
    let mut flood = Flood::new();
    for _ in 0..3 {
        let eve = eve.clone();
        flood.over((VICTIM, node.address()), move || ask(&eve));
    }
    flood.is_answered(1000).await;
    // From the very address of the flood, and from another one.
    for n in 0..60 {
        let from = if n % 2 == 0 { VICTIM } else { ATTACKER };
        node.stream().token(&Token::of(&format!("v{n}")).sign()).from(from).open().await;
    }
    flood.is_answered(500).await;
    is_refused(&node.stream().token(&eve), "user-rate").await;
    until("a status says which rate", SOON, async || {
        let refused = node.stream().token(&eve).header("Prefer", "status").send().await.answer().await;
        assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{refused:?}");
        let words = ["20 streams per second", "limits.user.connects_per_second"];
        refused.is_problem(429, "rate-limited", &words)
    })
    .await;
    let metrics = node.metrics().await;
    let limited = |scope: &str, kind: &str| {
        metrics
            .sum("fanfare_rate_limited_total", &[&format!("scope=\"{scope}\""), &format!("kind=\"{kind}\"")])
    };
    assert!(limited("user", "connects") > 500.0);
    assert!(
        limited("address", "connects").abs() < 1.0,
        "what the user is refused is not charged to the address"
    );
    let turned_away = metrics.sum("fanfare_streams_refused_total", &[r#"reason="rate""#]);
    assert!(turned_away.abs() < 1.0, "the node's own rate was never used up: {turned_away}");
    for client in &mut held {
        assert_eq!(client.received().len(), 1, "{}", client.story());
    }
}

#[tokio::test]
async fn a_user_whose_sessions_are_taken_uses_up_nothing_of_the_nodes_rate() {
    let redis = Redis::start().await;
    let node = small(Node::of(&redis))
        // Fewer than the flood has answered, also on a busy machine.
        .set("LIMITS__CONNECTS_PER_SECOND", "20")
        .set("LIMITS__SESSIONS_PER_USER", "1")
        .set("LIMITS__USER__CONNECTS_PER_SECOND", "100000")
        .start()
        .await;
    let eve = Token::of("eve").sign();
    let _held = node.stream().token(&eve).open().await;
    let mut flood = Flood::new();
    for _ in 0..3 {
        let eve = eve.clone();
        flood.over((ATTACKER, node.address()), move || ask(&eve));
    }
    flood.is_answered(300).await;
    for n in 0..10 {
        node.stream().token(&Token::of(&format!("v{n}")).sign()).open().await;
    }
    let metrics = node.metrics().await;
    assert!(metrics.sum("fanfare_streams_refused_total", &[r#"reason="user-sessions""#]) > 200.0);
}

#[tokio::test]
async fn an_addresss_flood_of_connects_turns_no_one_else_away() {
    let redis = Redis::start().await;
    let node = small(Node::of(&redis)).set("LIMITS__ADDRESS__CONNECTS_PER_SECOND", "5").start().await;
    let mut flood = Flood::new();
    for k in 0..3 {
        flood.over((ATTACKER, node.address()), of_many_users(k));
    }
    until("the flood is limited by its address", SOON, async || {
        let labels = [r#"scope="address""#, r#"kind="connects""#];
        let limited = node.metrics().await.sum("fanfare_rate_limited_total", &labels);
        if limited > 50.0 { Ok(()) } else { Err(limited) }
    })
    .await;
    for n in 0..60 {
        let from = Ipv4Addr::new(127, 0, 0, 100 + n);
        node.stream().token(&Token::of(&format!("v{n}")).sign()).from(from).open().await;
    }
    is_refused(&node.stream().token(&Token::of("another").sign()).from(ATTACKER), "address-rate").await;
    let metrics = node.metrics().await;
    assert!(metrics.sum("fanfare_streams_refused_total", &[r#"reason="rate""#]).abs() < 1.0);
}

#[tokio::test]
async fn requests_and_what_they_publish_are_limited_by_user_and_others_go_on() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .auth("jwt")
        .set("LIMITS__USER__REQUESTS_PER_SECOND", "60")
        .set("LIMITS__USER__EVENTS_PER_SECOND", "5")
        .set("LIMITS__USER__BYTES_PER_SECOND", "200KiB")
        .start()
        .await;
    let api = |user: &str| node.api().with_token(&Token::of(user).publish(&["*"]).sign());
    let batch = |events: usize, data: &str| {
        json!(vec![json!({"channel": "room:1", "type": "t", "data": data}); events])
    };
    // Those that come together and are more than a second's worth.
    let refused = |answers: Vec<Answer>, least: usize, words: &[&str]| {
        let passed = answers.iter().filter(|answer| answer.status != 429).count();
        assert!(passed >= least, "{passed} passed");
        let refused = answers.iter().find(|answer| answer.status == 429).expect("one of them is refused");
        refused.is_problem(429, "rate-limited", words).unwrap_or_else(|e| panic!("{e}"));
        assert!(
            refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=10).contains(&seconds))
        );
    };
    let publish = async |user: &str, body: Value| {
        let api = api(user);
        let answers = join_all((0..50).map(|_| api.post(&body))).await;
        answers.into_iter().map(Result::unwrap).collect::<Vec<_>>()
    };
    let words = ["more than 5 published events", "limits.user.events_per_second"];
    refused(publish("events", batch(1, "x")).await, 5, &words);
    // A batch that is larger than that takes all of it.
    refused(publish("batches", batch(20, "x")).await, 1, &words);
    let words = ["more than 200 kib", "limits.user.bytes_per_second"];
    refused(publish("bytes", batch(1, &"x".repeat(60_000))).await, 3, &words);
    let requests = api("requests");
    let answers = join_all((0..300).map(|_| requests.get("/v1/channels/not:granted/events"))).await;
    refused(answers, 60, &["limits.user.requests_per_second"]);
    assert_eq!(api("other").post(&batch(1, "x")).await.unwrap().status, 200);
    let metrics = node.metrics().await;
    for kind in ["requests", "events", "bytes"] {
        let kind = format!("kind=\"{kind}\"");
        assert!(metrics.sum("fanfare_rate_limited_total", &["scope=\"user\"", &kind]) >= 1.0, "{kind}");
    }
}

#[tokio::test]
async fn two_hundred_connects_of_one_user_on_three_nodes_do_not_pass_the_limit() {
    let cluster = Cluster::on(Redis::start().await, 3, |node| {
        node.auth("jwt").set("LIMITS__USER__CONNECTS_PER_SECOND", "1000")
    })
    .await;
    let token = Token::of("42").sign();
    let mut before = cluster.a().stream().token(&Token::of("43").sign()).open().await;
    let race = (0..200).map(|n| cluster.nodes[n % 3].stream().token(&token).send());
    let mut clients = join_all(race).await;
    let mut connected = 0;
    for client in &mut clients {
        let first = client.next().await;
        match &*first.kind {
            "connected" => connected += 1,
            _ => assert_eq!(first.json()["reason"], "user-sessions"),
        }
    }
    let recorded: u64 = cluster.redis.get(&["HLEN", "fanfare:{user:42}:sessions"]).await;
    assert_eq!((connected, recorded), (16, 16));
    let mut open = 0.0;
    for node in &cluster.nodes {
        open += node.streams().await;
        node.stream().token(&Token::of("44").sign()).open().await;
    }
    assert!((open - 17.0).abs() < 0.5, "{open} streams are open");
    cluster
        .b()
        .api()
        .with_token(&Token::of("p").publish(&["user:*"]).sign())
        .publish("user:43", "t", "still here")
        .await;
    before.expect_data("still here").await;
}

#[tokio::test]
async fn a_user_who_comes_and_goes_does_not_fill_the_lifecycle_stream() {
    let redis = Redis::start().await;
    let node = Node::of(&redis)
        .auth("jwt")
        .short_lease()
        .set("LIMITS__USER__CONNECTS_PER_SECOND", "1000")
        .set("SESSION__LIFECYCLE_PER_MINUTE", "20")
        .start()
        .await;
    let eve = Token::of("eve").sign();
    for _ in 0..200 {
        node.stream().token(&eve).open().await.close();
    }
    let events = lifecycle::of_user(&redis, "eve").await;
    assert!(events.len() < 60, "{} events", events.len());
    node.stream().token(&Token::of("bob").sign()).open().await.close();
    lifecycle::tells(
        &redis,
        "bob",
        &["session.connected a", "user.online", "session.disconnected closed", "user.offline"],
    )
    .await;
    // The final state is reported: which sessions remain, and that the others ended.
    let session = Uuid::new_v4().to_string();
    let _stays = node.stream().token(&eve).session(&session).open().await;
    until("the stream tells who is there", SOON, async || {
        let mut sessions = Vec::new();
        let mut online = false;
        for fields in lifecycle::all(&redis).await.into_iter().filter(|fields| fields["user"] == "eve") {
            match &*fields["event"] {
                "user.online" => assert!(!std::mem::replace(&mut online, true)),
                "user.offline" => assert!(std::mem::replace(&mut online, false)),
                "session.connected" => sessions.push(fields["session"].clone()),
                "session.disconnected" => sessions.retain(|known| *known != fields["session"]),
                other => panic!("{other}"),
            }
        }
        if online && sessions == [session.clone()] { Ok(()) } else { Err(format!("{online} {sessions:?}")) }
    })
    .await;
}
