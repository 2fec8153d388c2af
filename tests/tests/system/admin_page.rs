//! What operators see on the admin listener: the page, its calls, and the figures of the nodes.

use std::process::{Output, Stdio};

use fanfare_testkit::api::check_problem;
use fanfare_testkit::binary;
use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, becomes};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdout;
use tokio::time::timeout;

const STATS: &str = "fanfare:stats";
const ONLY_NODES: &str = "only nodes publish";
const FILES: [(&str, &str); 5] = [
    ("/", "text/html; charset=utf-8"),
    ("/admin/page.css", "text/css; charset=utf-8"),
    ("/admin/page.js", "text/javascript; charset=utf-8"),
    ("/admin/nodes.js", "text/javascript; charset=utf-8"),
    ("/admin/server.js", "text/javascript; charset=utf-8"),
];

fn admin() -> String {
    Token::of("ops").admin().sign()
}

async fn cluster(size: usize) -> Cluster {
    Cluster::on(Redis::start().await, size, |node| node.auth("jwt").admin()).await
}

/// A stream on the admin listener.
fn inside(node: &Node, token: &str) -> StreamRequest {
    StreamRequest::to(node.admin_address().expect("an admin listener")).token(token)
}

/// Returns the next figures of a node that are as they must be.
async fn figures(stream: &mut Client, fit: impl Fn(&Value) -> bool) -> Value {
    stream.find(|event| event.kind == "stats" && fit(&event.json())).await.json()
}

#[tokio::test]
async fn the_page_is_on_the_admin_listener_alone_and_loads_and_runs_nothing_else() {
    let cluster = cluster(1).await;
    let without = Node::of(&cluster.redis).id("z").auth("jwt").start().await;
    for (path, kind) in FILES {
        let file = cluster.a().admin_api().get(path).await;
        assert_eq!((file.status, file.header("content-type")), (200, kind), "{path}");
        let policy = file.header("content-security-policy");
        for word in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(word), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(file.header(name), value, "{path}");
        }
        for outside in [cluster.a().api(), without.api()] {
            outside
                .get(path)
                .await
                .is_problem(404, "not-found", &[])
                .unwrap_or_else(|e| panic!("{path}: {e}"));
        }
    }
}

#[tokio::test]
async fn each_node_publishes_its_figures_and_an_operator_on_any_node_sees_all() {
    let cluster = cluster(2).await;
    let user = Token::of("7").sign();
    let mut users = Vec::new();
    for node in [cluster.a(), cluster.b(), cluster.b()] {
        users.push(node.stream().token(&user).open().await);
    }
    let looks = Token::of("ops").grant("admin", json!(["look"])).sign();
    let mut stream = inside(cluster.a(), &looks).channel(STATS).open().await;
    // The operator's stream is one of a's.
    let a = figures(&mut stream, |stats| stats["node"] == "a" && stats["streams"] == 2).await;
    let b = figures(&mut stream, |stats| stats["node"] == "b" && stats["streams"] == 2).await;
    for (stats, node) in [(&a, cluster.a()), (&b, cluster.b())] {
        let metrics = node.metrics().await;
        assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"), "{stats}");
        assert_eq!(stats["max_streams"].as_f64(), Some(metrics.sum("sse_max_connections", &[])), "{stats}");
        assert_eq!(stats["address"], node.address().to_string(), "{stats}");
        assert!(stats["ready"] == true && stats["draining"] == false, "{stats}");
        let (memory, told) =
            (stats["memory"].as_f64().expect("bytes"), metrics.sum("process_resident_memory_bytes", &[]));
        assert!((memory / told - 1.0).abs() < 0.2, "{memory} {told}");
        assert!(stats["open_fds"].as_u64() > Some(5) && stats["max_fds"].as_u64() > Some(100), "{stats}");
        assert!(stats["cpu"].as_f64() < Some(4.0), "{stats}");
    }
    figures(&mut stream, |stats| stats["redis_ms"].as_f64() > Some(0.0)).await;
    let mut leaders = 0;
    for id in ["a", "b"] {
        let stats = figures(&mut stream, |stats| stats["node"] == id).await;
        leaders += usize::from(stats["intake_leader"] == true);
    }
    assert_eq!(leaders, 1, "one leads");
    // Rates are of the last second.
    cluster.b().api().with_token(&admin()).publish("user:7", "note", "x").await;
    let moved =
        figures(&mut stream, |stats| stats["node"] == "b" && stats["events"].as_f64() > Some(0.0)).await;
    assert!((1.0..=3.0).contains(&moved["events"].as_f64().expect("a rate")), "{moved}");
    cluster.nodes[1].terminate();
    figures(&mut stream, |stats| stats["node"] == "b" && stats["draining"] == true).await;
}

#[tokio::test]
async fn figures_are_for_operators_and_no_grant_and_no_publisher_reaches_their_channel() {
    let cluster = cluster(2).await;
    let (a, redis) = (cluster.a(), &cluster.redis);
    let without = Node::of(redis).id("z").auth("jwt").start().await;
    let history = format!("/v1/channels/{STATS}/events");
    for pattern in ["*", "fanfare:*", STATS] {
        let token = Token::of("7").subscribe(&[pattern]).publish(&[pattern]).sign();
        for node in [a, &without] {
            let stream = node.stream().token(&token).channel(STATS).send().await;
            stream.answer().await.is_problem(403, "no-grant", &[STATS]).unwrap();
            node.api().with_token(&token).get(&history).await.is_problem(403, "no-grant", &[STATS]).unwrap();
        }
        inside(a, &token)
            .channel(STATS)
            .send()
            .await
            .answer()
            .await
            .is_problem(403, "no-grant", &["operators"])
            .unwrap();
    }
    let missing = a.stream().token(&admin()).channel(STATS).send().await.answer().await;
    missing.is_problem(404, "not-found", &["admin.listen"]).unwrap();
    // A node without an admin listener serves all at one.
    without.stream().token(&admin()).channel(STATS).open().await.find(|event| event.kind == "stats").await;

    let mut stream = inside(a, &admin()).channel(STATS).open().await;
    for ephemeral in [false, true] {
        let event = json!({"channel": STATS, "type": "stats", "data": "forged", "ephemeral": ephemeral});
        for api in [a.api(), a.admin_api()] {
            let api = api.with_token(&admin());
            api.post(&event).await.unwrap().is_problem(403, "no-grant", &[ONLY_NODES]).unwrap();
            let each = api.post(&json!([event])).await.unwrap().json();
            check_problem(&each[0]["error"], 403, "no-grant", &[ONLY_NODES]).unwrap();
        }
    }
    let log = format!("fanfare:{{{STATS}}}:log");
    let refused =
        redis.ask::<redis::Value>(&["FCALL", "fanfare_publish", "1", &log, "stats", "forged"]).await;
    assert!(refused.unwrap_err().to_string().contains(ONLY_NODES));
    redis
        .get::<String>(&["XADD", "fanfare:ingest", "*", "channel", STATS, "type", "stats", "data", "forged"])
        .await;
    becomes("the entry is dead", 1, async || redis.get::<usize>(&["XLEN", "fanfare:ingest:dead"]).await)
        .await;
    let dead = a.admin_api().with_token(&admin()).get("/v1/dead-letters").await.json();
    assert!(dead["dead_letters"][0]["reason"].as_str().expect("a reason").contains(ONLY_NODES), "{dead}");
    // What publishers of ephemeral events may send goes to a topic that no node reads.
    let forged = r#"{"type":"stats","data":"forged"}"#;
    let heard: usize = redis.get(&["PUBLISH", &format!("fanfare:{{{STATS}}}:ephemeral"), forged]).await;
    assert_eq!(heard, 0, "no node subscribes to it");
    for _ in 0..4 {
        let event = stream.find(|event| event.kind == "stats").await;
        assert_ne!(&*event.data, "forged");
    }
    assert_eq!(
        redis.keys(&format!("fanfare:{{{STATS}}}:*")).await,
        Vec::<String>::new(),
        "nothing is stored"
    );
}

#[tokio::test]
async fn operators_publish_read_and_follow_on_the_admin_listener_and_others_do_not() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").admin().keep(7).set("LIMITS__CONNECTIONS", "1").start().await;
    let user = Token::of("7").subscribe(&["room:*"]).publish(&["*"]).sign();
    let api = node.admin_api().with_token(&user);
    let event = json!({"channel": "room:1", "data": "x"});
    api.post(&event).await.unwrap().is_problem(403, "no-grant", &["operators"]).unwrap();
    for path in ["/v1/channels/room:1/events", "/v1/channels/room:1/settings"] {
        api.get(path).await.is_problem(403, "no-grant", &["admin"]).unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    let mut client = node.stream().token(&user).channel("room:1").open().await;
    let full = node.stream().token(&user).header("Prefer", "status").send().await;
    assert_eq!(full.status(), 503, "the node is full");
    // An operator sees a node that is full.
    let mut stream = inside(&node, &admin()).channel("room:1").open().await;
    let api = node.admin_api().with_token(&admin());
    api.publish("room:1", "note", "hello").await;
    assert_eq!(&*stream.expect("note").await.data, "hello");
    assert_eq!(&*client.expect("note").await.data, "hello");
    assert_eq!(api.get("/v1/channels/room:1/events").await.json()["events"][0]["data"], "hello");
    let settings = api.get("/v1/channels/room:1/settings").await.json();
    let retention = json!({"events": 7, "age": 3_600_000, "positions": 604_800_000});
    assert_eq!(settings, json!({"channel": "room:1", "retention": retention, "presence": false}));
    let outside = node.api().with_token(&admin()).get("/v1/channels/room:1/settings").await;
    outside.is_problem(404, "not-found", &["admin.listen"]).unwrap();
}

/// Runs `fanfare top` as the holder of a token.
async fn top(node: &Node, token: &str, arguments: &[&str]) -> Output {
    let mut top = binary::command();
    top.arg("top").args(arguments);
    top.env("FANFARE_SERVER", format!("http://{}", node.admin_address().expect("an admin listener")));
    top.env("FANFARE_TOKEN", token);
    let output = tokio::task::spawn_blocking(move || top.output());
    output.await.expect("it does not panic").expect("the binary can be run")
}

#[tokio::test]
async fn top_prints_the_figures_of_all_nodes_once_where_there_is_no_terminal() {
    let cluster = cluster(2).await;
    let _stream = cluster.b().stream().token(&Token::of("7").sign()).open().await;
    let looks = Token::of("ops").grant("admin", json!(["look"])).sign();
    let table = top(cluster.a(), &looks, &[]).await;
    let text = String::from_utf8(table.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert!(table.status.success() && lines[0].starts_with("nodes: 2   streams: 2 "), "{text}");
    assert!(
        lines[2].starts_with("NODE ") && lines[3].starts_with("a ") && lines[4].starts_with("b "),
        "{text}"
    );
    assert!(lines.len() == 5 && lines[4].contains("1 of ") && !text.contains('\u{1b}'), "{text}");

    let json = top(cluster.b(), &admin(), &["--json"]).await;
    let text = String::from_utf8(json.stdout).expect("text");
    let nodes: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&nodes[0]["node"], &nodes[1]["node"]), (&json!("a"), &json!("b")), "{text}");
    assert_eq!(nodes[0]["version"], env!("CARGO_PKG_VERSION"));

    let refused = top(cluster.a(), &Token::of("7").sign(), &[]).await;
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(refused.status.code() == Some(1) && said.contains("operators"), "{said}");
}

#[tokio::test]
async fn top_redraws_a_terminal_until_q_and_restores_it() {
    let cluster = cluster(1).await;
    // `script` gives the command a terminal, in which `q` is typed once a node was seen.
    let program = binary::path();
    let line = format!("{} top; stty -a", program.display());
    let mut script = tokio::process::Command::new("script");
    script
        .args(["-qefc", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    script
        .env("FANFARE_SERVER", format!("http://{}", cluster.a().admin_address().expect("an admin listener")));
    script.env("FANFARE_TOKEN", admin());
    let mut script = script.spawn().expect("script is installed");
    let (mut keys, mut out) = (script.stdin.take().expect("a pipe"), script.stdout.take().expect("a pipe"));
    let mut shown = Vec::new();
    let read = async |shown: &mut Vec<u8>, out: &mut ChildStdout, what: &str| {
        let found = async {
            while !String::from_utf8_lossy(shown).contains(what) {
                assert_ne!(out.read_buf(shown).await.expect("a pipe"), 0, "the terminal is closed");
            }
        };
        let found = timeout(SOON, found).await;
        assert!(found.is_ok(), "no {what:?}: {}", String::from_utf8_lossy(shown));
    };
    read(&mut shown, &mut out, "ready, leader").await;
    keys.write_all(b"xq").await.expect("a pipe");
    read(&mut shown, &mut out, "echoctl").await;
    let text = String::from_utf8_lossy(&shown);
    let (before, after) = text.rsplit_once("\u{1b}[?1049l").expect("the screen is left");
    assert!(before.starts_with("\u{1b}[?1049h"), "{text:?}");
    assert!(after.contains(" icanon") && after.contains(" echo "), "the keyboard is as it was: {after}");
    script.wait().await.expect("it ends");
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing_on_the_admin_listener_even_with_a_token() {
    let cluster = cluster(1).await;
    let api = cluster.a().admin_api().with_token(&admin());
    let calls = [
        ("POST", "/v1/publish"),
        ("POST", "/v1/revocations"),
        ("DELETE", "/v1/users/7/sessions"),
        ("POST", "/v1/dead-letters/1-0/requeue"),
        ("DELETE", "/v1/dead-letters/1-0"),
    ];
    for (method, path) in calls {
        for foreign in [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", "https://evil.example"),
        ] {
            let answer = api.call(method, path, &[foreign], "").await.unwrap();
            answer
                .is_problem(403, "foreign-origin", &["admin listener"])
                .unwrap_or_else(|e| panic!("{path}: {e}"));
        }
        let own = api.call(method, path, &[("Sec-Fetch-Site", "same-origin")], "").await.unwrap();
        assert_ne!(own.status, 403, "{path}: {}", own.text);
    }
    let read = api.call("GET", "/v1/nodes", &[("Sec-Fetch-Site", "cross-site")], "").await.unwrap();
    assert_eq!(read.status, 200, "what changes nothing is for those with a token");
}
