//! An application that says who clients are, in place of tokens: the whole life of such clients.

use std::path::Path;
use std::time::{Duration, SystemTime};

use fanfare_testkit::application::Application;
use fanfare_testkit::binary;
use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::client::End;
use fanfare_testkit::deadline::{becomes, eventually};
use fanfare_testkit::http2::Http2;
use fanfare_testkit::key_server::{KeyAnswer, KeyServer};
use fanfare_testkit::node::{Node, NodeBuilder, SECRET};
use fanfare_testkit::redis::Redis;
use serde_json::Value;

const PATH: &str = "/v1/users/7/sessions";
const COOKIE: (&str, &str) = ("cookie", "theme=dark; sid=7");

fn asking(node: NodeBuilder, url: &str) -> NodeBuilder {
    node.auth("callback").set("AUTH__CALLBACK__URL", url)
}

/// An API key that may publish, and its entry for `auth.keys`.
fn key() -> (String, String) {
    let made = binary::command().args(["key", "--name", "shop"]).output().expect("the binary can be run");
    let text = String::from_utf8(made.stdout).expect("text");
    let hash = text.split_once("sha256 = \"").and_then(|(_, rest)| rest.split('"').next()).expect("a hash");
    let entry = format!("[{{ name = \"shop\", sha256 = \"{hash}\", publish = [\"room:*\"] }}]");
    (text.lines().next().expect("a line").to_owned(), entry)
}

fn audit(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the audit log");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

#[tokio::test]
async fn the_application_gets_named_headers_the_address_and_the_secret_of_the_node_and_no_other() {
    let app = Application::start().await;
    let node = asking(Node::alone(), &app.url())
        .set("AUTH__CALLBACK__SECRET", SECRET)
        .set("AUTH__CALLBACK__HEADERS", "cookie,authorization,x-tenant")
        .set("LOG__LEVEL", "trace")
        .start()
        .await;
    let headers = [
        COOKIE,
        ("authorization", "Basic eDp5"),
        ("x-tenant", "acme"),
        ("x-forwarded-for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("fanfare-secret", "forged"),
        ("x-other", "other"),
        ("te", "trailers"),
    ];
    let answer = node.api().call("GET", PATH, &headers, "").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let head = app.last_head().to_lowercase();
    let mut names: Vec<&str> = head.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    names.sort_unstable();
    let all = [
        "accept",
        "authorization",
        "cookie",
        "fanfare-secret",
        "host",
        "user-agent",
        "x-forwarded-for",
        "x-tenant",
    ];
    assert_eq!(names, all, "{head}");
    for line in [
        "cookie: theme=dark; sid=7".to_owned(),
        "authorization: basic edp5".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        format!("fanfare-secret: {SECRET}"),
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} in {head}");
    }
    for secret in [SECRET, "sid=7", "eDp5"] {
        assert!(!node.log().contains(secret), "{secret} in the log");
    }
}

#[tokio::test]
async fn a_stream_ends_with_what_the_application_said_unless_it_is_asked_again_before() {
    let redis = Redis::start().await;
    let app = Application::start().await;
    let (key, keys) = key();
    app.answer(r#","expires_in":5"#, "");
    let node = asking(Node::of(&redis), &app.url()).set("AUTH__KEYS", &keys).start().await;
    let stream = || node.stream().header(COOKIE.0, COOKIE.1).channel("room:1");
    let (mut ending, mut lasting) = (stream().open().await, stream().open().await);
    app.answer(r#","expires_in":600"#, "");
    let path = format!("/v1/sessions/{}/token", lasting.session());
    let replaced = node.api().call("POST", &path, &[COOKIE], "").await.expect("an answer");
    assert_eq!(replaced.status, 200, "{}", replaced.text);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_millis();
    let expires = replaced.json()["expires"].as_u64().expect("a time");
    assert!(u128::from(expires) > now + 300_000, "{expires}");
    assert_eq!(ending.expect("expired").await.json()["reason"], "token");
    assert_eq!(ending.end().await, End::Clean);
    // By the API key of a service, which the application is not asked about.
    let before = app.requests();
    node.api().with_token(&key).publish("room:1", "news", "still here").await;
    lasting.expect_data("still here").await;
    assert_eq!(app.requests(), before);
}

#[tokio::test]
async fn a_ticket_carries_what_the_application_said_to_a_page_without_the_cookie() {
    let redis = Redis::start().await;
    let app = Application::start().await;
    let node = asking(Node::of(&redis), &app.url()).start().await;
    let made = node.api().call("POST", "/v1/tickets", &[COOKIE], "").await.expect("an answer");
    assert!(made.status < 300, "{}", made.text);
    let ticket = made.json()["ticket"].as_str().expect("a ticket").to_owned();
    let before = app.requests();
    let mut client = node.stream().channel("room:1").parameter("ticket", &ticket).open().await;
    assert_eq!(app.requests(), before);
    let ended = node.api().call("DELETE", &format!("{PATH}?revoke=true"), &[COOKIE], "").await;
    assert_eq!(ended.expect("an answer").status, 200);
    client.expect("disconnected").await;
}

#[tokio::test]
async fn the_audit_log_says_who_the_application_refused_and_who_it_let_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("audit.log");
    let app = Application::start().await;
    let node = asking(Node::alone(), &app.url())
        .set("LOG__FORMAT", "json")
        .set("LOG__AUDIT", file.to_str().expect("text"))
        .start()
        .await;
    for (cookie, path, status) in [
        ("sid=unknown", PATH, 401),
        ("sid=banned", PATH, 403),
        ("sid=8", PATH, 403),
        ("sid=7", PATH, 200),
        ("other=7", "/v1/events?channel=room:1", 401),
    ] {
        let answer = node.api().call("GET", path, &[("cookie", cookie)], "").await.expect("an answer");
        assert_eq!(answer.status, status, "{cookie}: {}", answer.text);
    }
    let none = node.api().get("/v1/events?channel=room:1").await;
    none.is_problem(401, "no-token", &["auth.callback.headers"]).unwrap_or_else(|e| panic!("{e}"));
    eventually("the lines are written", async || audit(&file).len() >= 5).await;
    let lines: Vec<String> = audit(&file)
        .iter()
        .map(|line| format!("{} {} {}", line["code"], line["user"], line["credential"]).replace('"', ""))
        .collect();
    assert_eq!(
        lines,
        [
            "unauthenticated null null",
            "no-grant null null",
            "no-grant 8 callback",
            "unauthenticated null null",
            "no-token null null"
        ]
    );
    let text = std::fs::read_to_string(&file).expect("the audit log");
    assert!(!text.contains("sid=") && !text.contains("other=7"), "{text}");
}

#[tokio::test]
async fn an_application_over_tls_must_have_a_certificate_that_is_trusted() {
    let (own, other) = (Certificate::default(), Certificate::default());
    let answer = KeyAnswer::Body(r#"{"user":"7"}"#.to_owned());
    let server = KeyServer::over_tls(answer, &own).await;
    let url = format!("https://localhost:{}/whoami", server.address().port());
    for (trusted, status) in [(&own, 200), (&other, 503)] {
        let file = trusted.authority_file();
        let node = asking(Node::alone(), &url).set("AUTH__CALLBACK__CA", file.to_str().expect("text"));
        let node = node.start().await;
        let answer = node.api().call("GET", PATH, &[COOKIE], "").await.expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.text);
        assert!(!answer.text.contains("certificate"), "internal text in {}", answer.text);
        if status == 503 {
            eventually("the reason in the log", async || node.log().contains("certificate")).await;
        }
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_connection_that_the_application_closes_meanwhile_is_no_failure() {
    let server = KeyServer::start(KeyAnswer::Closes(r#"{"user":"7"}"#.to_owned())).await;
    let node = asking(Node::alone(), &server.url()).start().await;
    for _ in 0..5 {
        let answer = node.api().call("GET", PATH, &[COOKIE], "").await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert!(!node.log().contains("no usable answer"), "{}", node.log());
}

#[tokio::test]
async fn a_changed_secret_of_the_node_is_sent_and_one_that_cannot_be_used_changes_nothing() {
    const NEW: &str = "c40e9d2b7f1a3c5d8e6b0a2f4c1d3e5b7f9a8c6d";
    let app = Application::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (file, next) = (dir.path().join("secret"), dir.path().join("next"));
    let write = |content: &str| {
        std::fs::write(&next, content).expect("a file");
        std::fs::rename(&next, &file).expect("at once");
    };
    write(SECRET);
    let node = asking(Node::alone(), &app.url())
        .set("AUTH__CALLBACK__SECRET_FILE", file.to_str().expect("text"))
        .set("AUTH__RELOAD_INTERVAL", "20ms")
        .set("LOG__LEVEL", "trace")
        .start()
        .await;
    let sent = async || {
        let answer = node.api().call("GET", PATH, &[COOKIE], "").await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
        let head = app.last_head();
        let line = head.lines().find_map(|line| line.strip_prefix("fanfare-secret: "));
        line.expect("a secret").to_owned()
    };
    assert_eq!(sent().await, SECRET);
    for (number, content) in (1..).zip(["short", "0123456789abcdef\n0123456789abcdef"]) {
        write(content);
        becomes("a failure", f64::from(number), async || {
            node.metrics().await.sum("fanfare_auth_key_file_failures_total", &[])
        })
        .await;
        assert_eq!(sent().await, SECRET);
    }
    write(NEW);
    becomes("the new secret", NEW.to_owned(), sent).await;
    for secret in [SECRET, NEW, "0123456789abcdef"] {
        assert!(!node.log().contains(secret), "{}", node.log());
    }
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_the_answer_from_others_who_wait_for_it() {
    let app = Application::start().await;
    app.answer("", "max-age=300");
    app.answers(false);
    let node = asking(Node::alone(), &app.url()).set("AUTH__CALLBACK__TIMEOUT", "30s").start().await;
    let stream = || node.stream().header(COOKIE.0, COOKIE.1).channel("room:1");
    // The node notices at once that an HTTP/2 client leaves.
    let first = tokio::spawn(stream().http2(&Http2::clear()).send());
    eventually("the first asks", async || app.requests() == 1).await;
    let others: Vec<_> = (0..8).map(|_| tokio::spawn(stream().open())).collect();
    let waiting = async || node.metrics().await.sum("fanfare_auth_callback_shared_total", &[]);
    assert!(waiting().await < 1.0);
    first.abort();
    assert!(first.await.is_err(), "the first client has left");
    eventually("one of the others asks", async || app.requests() == 2).await;
    app.answers(true);
    for other in others {
        other.await.expect("no panic");
    }
    assert_eq!(app.requests(), 2);
    assert!(waiting().await >= 7.0);
}

#[tokio::test]
async fn a_node_that_waits_for_the_application_still_shuts_down() {
    let app = Application::start().await;
    app.answers(false);
    let mut node = asking(Node::alone(), &app.url())
        .set("AUTH__CALLBACK__TIMEOUT", "30s")
        .set("DRAIN__NOTICE", "0s")
        .set("DRAIN__WINDOW", "100ms")
        // An eighth of it is left for the end, also on a busy machine.
        .set("DRAIN__DEADLINE", "6s")
        .start()
        .await;
    let waiting = tokio::spawn(node.stream().header(COOKIE.0, COOKIE.1).channel("room:1").send());
    eventually("it waits", async || app.requests() == 1).await;
    node.terminate();
    assert!(node.ended(Duration::from_secs(20)).await.success());
    let _ = waiting.await;
}
