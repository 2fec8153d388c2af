//! An application that says who clients are: slow, down, wrong and hostile, and asked by thousands at once.

use std::time::{Duration, Instant};

use fanfare_testkit::application::Application;
use fanfare_testkit::client::End;
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::key_server::{KeyAnswer, KeyServer};
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::token::Token;

const PATH: &str = "/v1/users/7/sessions";
const COOKIE: &str = "theme=dark; sid=7";

fn asking(node: NodeBuilder, url: &str) -> NodeBuilder {
    node.auth("callback").set("AUTH__CALLBACK__URL", url).set("LOG__LEVEL", "trace")
}

async fn node(url: &str) -> Node {
    asking(Node::alone(), url).set("AUTH__CALLBACK__TIMEOUT", "500ms").start().await
}

async fn call(node: &Node, cookie: &str) -> fanfare_testkit::api::Answer {
    node.api().call("GET", PATH, &[("cookie", cookie)], "").await.expect("an answer")
}

fn stream(node: &Node, cookie: &str) -> StreamRequest {
    node.stream().header("Cookie", cookie)
}

#[tokio::test]
async fn the_application_says_who_a_client_is_and_for_how_long() {
    let app = Application::start().await;
    app.answer(r#","expires_in":6"#, "private, max-age=60");
    let node = asking(Node::alone(), &app.url()).set("AUTH__CALLBACK__HEADERS", "cookie").start().await;
    assert_eq!(call(&node, COOKIE).await.status, 200);
    let head = app.last_head();
    assert!(
        head.starts_with("GET /whoami HTTP/1.1\r\n") && head.contains("cookie: theme=dark; sid=7\r\n"),
        "{head}"
    );
    assert!(head.contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
    let mut client =
        stream(&node, COOKIE).header("Authorization", "Bearer secret").channel("room:1").open().await;
    assert!(!app.last_head().contains("secret"), "only headers that the settings name");
    assert_eq!(app.requests(), 1, "the answer is kept");
    let foreign = stream(&node, COOKIE).channel("vault").send().await.answer().await;
    foreign.is_problem(403, "no-grant", &["vault"]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(client.expect("expired").await.json()["reason"], "token");
    assert_eq!(client.end().await, End::Clean);
    client.resume(&node).await;
    assert_eq!(app.requests(), 2, "an identity that has ended is asked for again");
    for (cookie, status, code) in [("sid=unknown", 401, "unauthenticated"), ("sid=banned", 403, "no-grant")] {
        call(&node, cookie)
            .await
            .is_problem(status, code, &["application"])
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(stream(&node, cookie).send().await.status(), status, "a native EventSource ends for good");
    }
    let before = app.requests();
    let none = node.api().get(PATH).await;
    none.is_problem(401, "no-token", &[]).unwrap_or_else(|e| panic!("{e}"));
    let token = node.api().with_token(&Token::of("7").admin().sign()).get(PATH).await;
    token.is_problem(401, "no-token", &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(app.requests(), before, "there is nothing to ask about");
    assert!(node.log().contains("request completed") && !node.log().contains("sid="), "a cookie in the log");
}

#[tokio::test]
async fn what_the_application_does_not_allow_to_keep_is_asked_each_time() {
    let app = Application::start().await;
    let node = node(&app.url()).await;
    for (at, (cache, requests)) in
        [("", 2), ("no-store, max-age=60", 2), ("max-age=60, no-cache", 2), ("max-age=60", 1)]
            .into_iter()
            .enumerate()
    {
        app.answer("", cache);
        let cookie = format!("sid=7; at={at}");
        for _ in 0..2 {
            assert_eq!(call(&node, &cookie).await.status, 200);
        }
        assert_eq!(app.requests_of(&cookie), requests, "{cache:?}");
        // What is refused is kept as well.
        let unknown = format!("sid=unknown; at={at}");
        for _ in 0..2 {
            assert_eq!(call(&node, &unknown).await.status, 401);
        }
        assert_eq!(app.requests_of(&unknown), requests, "{cache:?}");
    }
    // A cache on the way to the application had the answer for as long as it may be used.
    app.answer("", "max-age=60\r\nAge: 60");
    for _ in 0..2 {
        assert_eq!(call(&node, "sid=7; old").await.status, 200);
    }
    assert_eq!(app.requests_of("sid=7; old"), 2);
    // Each answer has its own time, also one that takes the place of another.
    let cookie = "sid=7; often";
    for (cache, requests) in [("no-store", 1), ("max-age=1", 2), ("max-age=1", 3), ("max-age=60", 4)] {
        app.answer("", cache);
        eventually("it is asked again", async || {
            assert_eq!(call(&node, cookie).await.status, 200);
            app.requests_of(cookie) == requests
        })
        .await;
    }
    for _ in 0..5 {
        assert_eq!(call(&node, cookie).await.status, 200);
    }
    assert_eq!(app.requests_of(cookie), 4, "it is kept");
}

#[tokio::test]
async fn every_failure_of_an_application_is_a_refusal() {
    let good = r#"{"user":"7","grants":{"subscribe":["*"],"admin":true}}"#;
    let server = KeyServer::start(KeyAnswer::Body(good.to_owned())).await;
    let node = node(&server.url()).await;
    assert_eq!(call(&node, "sid=first").await.status, 200);
    let large = format!("{good}{}", " ".repeat(16 * 1024));
    let patterns: Vec<String> = (0..2000).map(|at| format!("\"room:{at}\"")).collect();
    let grants = format!(r#"{{"user":"7","grants":{{"subscribe":[{}]}}}}"#, patterns.join(","));
    let raw = |fields: &str| {
        let length = good.len();
        KeyAnswer::Raw(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{good}"))
    };
    for (name, answer) in [
        ("silence", KeyAnswer::Silence),
        ("drip", KeyAnswer::Drip),
        ("endless", KeyAnswer::Endless),
        ("cut", KeyAnswer::Cut(good.into())),
        ("endless head", KeyAnswer::EndlessHead),
        ("noise", KeyAnswer::Noise),
        ("close", KeyAnswer::Close),
        ("late", KeyAnswer::Late(good.into(), Duration::from_secs(2))),
        ("500", KeyAnswer::Status(500, good.into())),
        ("404", KeyAnswer::Status(404, good.into())),
        ("201", KeyAnswer::Status(201, good.into())),
        ("204", KeyAnswer::Status(204, String::new())),
        ("a redirect", KeyAnswer::Status(302, good.into())),
        ("a permanent redirect", KeyAnswer::Status(308, good.into())),
        ("HTML", KeyAnswer::Typed("text/html".into(), good.into())),
        ("text", KeyAnswer::Typed("text/plain; application/json".into(), good.into())),
        ("two media types", raw("Content-Type: application/json\r\nContent-Type: text/html\r\n")),
        ("a coding", raw("Content-Type: application/json\r\nContent-Encoding: gzip\r\n")),
        ("two lengths", raw("Content-Type: application/json\r\nContent-Length: 300\r\n")),
        ("another protocol", KeyAnswer::Raw(format!("HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n{good}"))),
        ("no head", KeyAnswer::Raw(good.into())),
        ("more than 16 KiB", KeyAnswer::Body(large)),
        ("thousands of grants", KeyAnswer::Body(grants)),
        ("nothing", KeyAnswer::Body(String::new())),
        ("two answers", KeyAnswer::Body(good.repeat(2))),
        ("a list", KeyAnswer::Body(r#"["7",{"admin":true}]"#.into())),
        ("no user", KeyAnswer::Body(r#"{"grants":{"admin":true}}"#.into())),
        ("two users", KeyAnswer::Body(r#"{"user":"7","user":"8"}"#.into())),
        ("a user that is none", KeyAnswer::Body(r#"{"user":"a\nb"}"#.into())),
        ("an unknown grant", KeyAnswer::Body(r#"{"user":"7","grants":{"root":true}}"#.into())),
        ("a bad pattern", KeyAnswer::Body(r#"{"user":"7","grants":{"subscribe":["a b"]}}"#.into())),
        ("grants by position", KeyAnswer::Body(r#"{"user":"7","grants":[["*"],["*"],true]}"#.into())),
        ("a time that is no number", KeyAnswer::Body(r#"{"user":"7","expires_in":null}"#.into())),
        ("a secret", KeyAnswer::Body(r#"{"user":"7","expires_in":"hush"}"#.into())),
        ("an identity that has ended", KeyAnswer::Body(r#"{"user":"7","expires_in":0}"#.into())),
        ("deep", KeyAnswer::Body(format!("{}{}", r#"{"user":"#, "[".repeat(60_000)))),
    ] {
        server.answer(answer);
        let cookie = format!("sid={}", name.replace(' ', "-"));
        let answer = call(&node, &cookie).await;
        answer.is_problem(503, "unavailable", &["application"]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!answer.header("retry-after").is_empty(), "{name}");
        let mut client = stream(&node, &cookie).send().await;
        assert_eq!(client.expect("overloaded").await.json()["reason"], "unavailable", "{name}");
        assert!(client.retry().expect("a native EventSource comes back") >= Duration::from_secs(1));
        let status = stream(&node, &cookie).header("Prefer", "status").send().await.answer().await;
        status.is_problem(503, "unavailable", &["application"]).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    // It recovers by itself.
    server.answer(KeyAnswer::Body(good.to_owned()));
    eventually("the application is back", async || call(&node, "sid=silence").await.status == 200).await;
    assert!(!node.log().contains("sid="), "a cookie in the log");
    assert!(!node.log().contains("hush"), "a part of an answer in the log");
    let metrics = node.metrics().await;
    assert!(metrics.sum("fanfare_auth_callback_requests_total", &["outcome=\"failed\""]) >= 35.0);
}

#[tokio::test]
async fn five_thousand_clients_ask_once_for_each_cookie() {
    const CLIENTS: usize = 5000;
    const COOKIES: usize = 100;
    fanfare_testkit::open_files::raise_limit();
    let app = Application::start().await;
    app.answer("", "max-age=300");
    app.answers(false);
    let mut builder = asking(Node::alone(), &app.url()).set("LOG__LEVEL", "info");
    for (name, value) in [
        ("AUTH__CALLBACK__REQUESTS", "8"),
        ("AUTH__CALLBACK__TIMEOUT", "30s"),
        ("LIMITS__MEMORY", "1GiB"),
        ("LIMITS__SOCKETS", "10000"),
        ("LIMITS__SOCKETS_PER_ADDRESS", "10000"),
        ("LIMITS__CONNECTS_PER_SECOND", "0"),
        ("LIMITS__USER__CONNECTS_PER_SECOND", "0"),
        ("LIMITS__ADDRESS__CONNECTS_PER_SECOND", "0"),
        ("LIMITS__ADDRESS__REQUESTS_PER_SECOND", "0"),
        ("LIMITS__SESSIONS_PER_USER", "1000"),
    ] {
        builder = builder.set(name, value);
    }
    let node = builder.start().await;
    let opening: Vec<_> = (0..CLIENTS)
        .map(|at| {
            let request = stream(&node, &format!("sid=user-{}", at % COOKIES)).header("Prefer", "status");
            tokio::spawn(async move { request.send().await })
        })
        .collect();
    eventually("the first requests are sent", async || app.requests() == 8).await;
    let others = node.api().call("GET", "/healthz", &[], "").await.expect("an answer");
    assert_eq!(others.status, 200, "who asks nothing does not wait");
    app.answers(true);
    let mut clients = Vec::new();
    for client in opening {
        let mut client = client.await.expect("no panic");
        client.connected().await;
        clients.push(client);
    }
    assert_eq!((app.requests(), app.most_at_once()), (COOKIES, 8));
    for at in 0..COOKIES {
        assert_eq!(app.requests_of(&format!("sid=user-{at}")), 1);
    }
}

#[tokio::test]
async fn requests_that_do_not_get_a_turn_are_refused_in_time() {
    let app = Application::start().await;
    app.answers(false);
    let node = asking(Node::alone(), &app.url())
        .set("AUTH__CALLBACK__REQUESTS", "1")
        .set("AUTH__CALLBACK__TIMEOUT", "1s")
        .start()
        .await;
    let (begun, node) = (Instant::now(), &node);
    let calls = (0..20).map(|at| async move {
        let answer = call(node, &format!("sid={at}")).await;
        answer.is_problem(503, "unavailable", &["application"]).unwrap_or_else(|e| panic!("{e}"));
    });
    futures_util::future::join_all(calls).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "they waited for their turn");
    assert!(app.most_at_once() <= 2, "{}", app.most_at_once());
    app.answers(true);
    eventually("the application is back", async || call(node, "sid=7").await.status == 200).await;
}

#[tokio::test]
async fn answers_are_bounded_in_bytes_and_others_still_get_in() {
    let app = Application::start().await;
    app.answer("", "max-age=300");
    let node = asking(Node::alone(), &app.url()).set("AUTH__CALLBACK__CACHE", "8KiB").start().await;
    for round in 0..2 {
        for at in 0..100 {
            assert_eq!(call(&node, &format!("sid=7; at={at}")).await.status, 200);
        }
        assert!(app.requests() >= 100 * (round + 1) - 16 * round, "{}", app.requests());
    }
}

#[tokio::test]
async fn a_revocation_and_a_foreign_page_count_as_with_tokens() {
    let redis = Redis::start().await;
    let app = Application::start().await;
    app.answer("", "max-age=300");
    let node = asking(Node::of(&redis), &app.url()).start().await;
    let from = |origin: &str| stream(&node, COOKIE).header("Origin", origin);
    let foreign = from("https://evil.example").send().await;
    assert_eq!(foreign.status(), 403);
    foreign.answer().await.is_problem(403, "foreign-origin", &[]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(app.requests(), 0, "a page of another origin causes no request");
    let mut client = from(&format!("http://{}", node.address())).open().await;
    assert_eq!(app.requests(), 1);
    let own = node.api().call("DELETE", &format!("{PATH}?revoke=true"), &[("cookie", COOKIE)], "").await;
    assert_eq!(own.expect("an answer").status, 200);
    let last = client.next().await;
    assert!(["disconnected", "expired"].contains(&last.kind.as_str()), "{last:?}");
    eventually("the application says again who the client is", async || {
        call(&node, COOKIE).await.status == 200
    })
    .await;
    assert!(app.requests() > 1, "what it said before the revocation does not count");
}

#[tokio::test]
async fn made_up_cookies_ask_the_application_no_faster_than_their_address_may() {
    const RATE: usize = 5;
    let app = Application::start().await;
    app.answer("", "max-age=300");
    let node = asking(Node::alone(), &app.url()).set("LOG__LEVEL", "info");
    let node = node.set("LIMITS__ADDRESS__REQUESTS_PER_SECOND", &RATE.to_string()).start().await;
    stream(&node, COOKIE).open().await;
    let begun = Instant::now();
    let mut limited = 0;
    for at in 0..200 {
        let answer = stream(&node, &format!("sid=unknown; at={at}")).header("Prefer", "status").send().await;
        if answer.status() != 401 {
            let words = ["limits.address.requests_per_second"];
            answer.answer().await.is_problem(429, "rate-limited", &words).unwrap_or_else(|e| panic!("{e}"));
            limited += 1;
        }
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("a short time") + 1;
    assert!(limited > 0, "{limited}");
    assert!(app.requests() <= 1 + RATE * (seconds + 1), "{} in {seconds} s", app.requests());
    let mut last = stream(&node, "sid=unknown; last").send().await;
    if last.status() == 200 {
        assert_eq!(last.expect("overloaded").await.json()["reason"], "address-rate");
    }
    // A client that the application knows, and whose answer is kept, is not charged.
    stream(&node, COOKIE).open().await;
}
