//! The client commands as people run them: the real binary against a server that follows a script.

use std::collections::VecDeque;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use fanfare_testkit::binary;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Instead of an answer: one for each event of the request, since the batches of lines are not deterministic. The
/// type `gap` is refused.
const EACH: &str = "(one for each event)";

/// At the end of an answer: the answer stays open.
const OPEN: &str = "(stays open)";

/// What a test allows for a command to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as the script saw it.
#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    uri: String,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Status, content type and text.
type Answer = (u16, &'static str, String);

#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A server that gives the answers of its script one after another. Ends when it is dropped.
struct Server {
    address: String,
    script: Script,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn with(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script =
            Script { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Script::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(script.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, script, task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    async fn run(&self, args: &[&str], stdin: &str) -> Output {
        fanfare(&self.address, args, stdin).await
    }
}

async fn answer(State(script): State<Script>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    script.seen.lock().unwrap().push(Seen { at: Instant::now(), uri: uri.to_string(), headers, body });
    let next = script.answers.lock().unwrap().pop_front();
    let (status, kind, text) = next.unwrap_or((500, "text/plain", "the script is over".into()));
    let text = if text == EACH { each(&script) } else { text };
    let body = match text.strip_suffix(OPEN) {
        Some(text) => {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(text.to_owned())]);
            Body::from_stream(first.chain(futures_util::stream::pending()))
        }
        None => Body::from(text),
    };
    (StatusCode::from_u16(status).unwrap(), [("content-type", kind)], body).into_response()
}

fn each(script: &Script) -> String {
    let seen = script.seen.lock().unwrap();
    let items: Vec<Value> = serde_json::from_str(&seen.last().unwrap().body).unwrap();
    let answer = |item: &Value| match item["type"].as_str() {
        Some("gap") => {
            json!({"error": {"title": "Bad event", "detail": "the type is reserved", "status": 400}})
        }
        _ => json!({"id": format!("5-{}", item["data"]), "repeat": false}),
    };
    Value::from(items.iter().map(answer).collect::<Vec<_>>()).to_string()
}

async fn fanfare(server: &str, args: &[&str], stdin: &str) -> Output {
    let mut child = command(server, args).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // A command that does not read its stdin may have closed it.
    let _ = input.write_all(stdin.as_bytes()).await;
    drop(input);
    ended(child).await
}

async fn ended(child: Child) -> Output {
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the command hangs").unwrap()
}

fn command(server: &str, args: &[&str]) -> Command {
    let mut command = Command::from(binary::command());
    command
        .args(args)
        .env("FANFARE_SERVER", server)
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn stream(text: &str) -> Answer {
    (200, "text/event-stream", text.to_owned())
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const HELLO: &str =
    "id: a0\nretry: 20\nevent: connected\ndata: {\"session\":\"s\",\"node\":\"n\",\"cursor\":\"a0\"}\n\n";

#[tokio::test]
async fn listen_goes_on_where_it_was() {
    let envelope = |n: u32| {
        format!(
            "id: a{n}\ndata: {{\"channel\":\"c\",\"type\":\"t\",\"id\":\"5-{n}\",\"time\":5,\"data\":\"{n}\"}}\n\n"
        )
    };
    let server = Server::with([
        stream(&format!("{HELLO}{}", envelope(1))),
        (503, "text/html", "<html>busy</html>".into()),
        stream(&HELLO.replace("a0", "a1")),
        // Cut off in the middle of an event, with another line ending.
        stream(&(HELLO.replace("a0", "a1") + &envelope(2) + "id: a9\ndata: {\"cha").replace('\n', "\r\n")),
        stream(&(HELLO.replace("a0", "a2") + &envelope(3))),
    ])
    .await;
    let output = server.run(&["listen", "c", "d", "--json", "--count", "3", "--after", "earliest"], "").await;
    let (code, _, stderr) = said(&output);
    assert_eq!(code, Some(0), "{stderr}");
    let got = lines(&output);
    let data: Vec<&str> = got.iter().filter_map(|line| line["data"].as_str()).collect();
    assert_eq!(data, ["1", "2", "3"]);
    assert_eq!(got.iter().filter(|line| line["control"] == "connected").count(), 4);

    let seen = server.seen();
    let cursors: Vec<Option<&str>> = seen.iter().map(|seen| seen.header("last-event-id")).collect();
    assert_eq!(cursors, [None, Some("a1"), Some("a1"), Some("a1"), Some("a2")]);
    assert!(seen.iter().all(|request| request.uri == seen[0].uri), "one address, and so one session");
    assert!(seen[0].uri.contains("channel=c&channel=d&session="), "{}", seen[0].uri);
    assert!(seen[0].uri.contains("after=earliest"), "{}", seen[0].uri);
}

#[tokio::test]
async fn listen_waits_as_long_as_the_server_asks() {
    let server = Server::with([
        stream(HELLO),
        stream("id: a0\nretry: 300\nevent: overloaded\ndata: {\"reason\":\"draining\"}\n\n"),
        stream(&format!("{HELLO}id: a1\ndata: x\n\n")),
    ])
    .await;
    let output = server.run(&["listen", "--format", "raw", "--count", "1"], "").await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let times: Vec<Instant> = server.seen().iter().map(|seen| seen.at).collect();
    assert!(times[1] - times[0] >= Duration::from_millis(20));
    assert!(times[2] - times[1] >= Duration::from_millis(300));
    assert_eq!(said(&output).1, "a1  message  x\n");
}

#[tokio::test]
async fn listen_ends_when_coming_back_is_useless() {
    let control =
        |kind: &str| stream(&format!("{HELLO}id: a0\nevent: {kind}\ndata: {{\"session\":\"s\"}}\n\n"));
    let problem =
        json!({"type": "/v1/problems#bad-token", "title": "Bad token", "detail": "it is not signed by us"});
    for (script, code, word) in [
        (control("superseded"), 3, "another connection took over the session"),
        (control("disconnected"), 4, "disconnected"),
        (
            (401, "application/problem+json", problem.to_string()),
            1,
            "fanfare: Bad token: it is not signed by us\n",
        ),
        ((200, "text/html", "<html>".into()), 1, "not an event stream"),
        ((204, "text/plain", String::new()), 0, ""),
    ] {
        let server = Server::with([script]).await;
        let output = server.run(&["listen"], "").await;
        let (got, _, stderr) = said(&output);
        assert_eq!(got, Some(code), "{stderr}");
        assert!(stderr.contains(word), "{word:?} is not in {stderr:?}");
        assert_eq!(server.seen().len(), 1, "it came back after {word:?}");
    }
}

#[tokio::test]
async fn a_gap_is_reported_even_when_quiet() {
    let gap = "id: a0\nevent: gap\ndata: {\"channel\":\"c\",\"after\":\"5-1\"}\n\n";
    let event = "data: {\"channel\":\"c\",\"type\":\"t\",\"time\":5,\"data\":\"x\"}\n\n";
    let server = Server::with([stream(&format!("{HELLO}{gap}{event}"))]).await;
    let (code, stdout, stderr) = said(&server.run(&["listen", "c", "-q", "--count", "1"], "").await);
    assert_eq!(code, Some(0));
    assert_eq!(stdout, "1970-01-01T00:00:00.005Z  c  -  t  x\n");
    assert_eq!(stderr, "fanfare: c: gap: events after 5-1 may be missing\n");
}

#[tokio::test]
async fn publish_sends_one_event_and_prints_its_position() {
    let answer = json!({"id": "5-1", "repeat": false}).to_string();
    let server = Server::with([(200, "application/json", answer)]).await;
    let args = ["publish", "room:7", "-", "--type", "note", "--key", "k", "--token", "secret"];
    let (code, stdout, stderr) = said(&server.run(&args, "two\nlines\n").await);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "5-1\n", ""));
    let seen = &server.seen()[0];
    assert_eq!(seen.uri, "/v1/publish");
    assert_eq!(seen.header("authorization"), Some("Bearer secret"));
    let body: Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(body, json!({"channel": "room:7", "type": "note", "data": "two\nlines", "key": "k"}));
}

#[tokio::test]
async fn publish_names_the_line_that_was_refused() {
    let server = Server::with(std::iter::repeat_n((200, "application/json", EACH.to_owned()), 3)).await;
    let stdin = "{\"channel\":\"a\",\"data\":1}\n{\"channel\":\"a\",\"type\":\"gap\",\"data\":2}\n{\"channel\":\"a\",\"data\":3}\n";
    let (code, stdout, stderr) = said(&server.run(&["publish", "--json-lines"], stdin).await);
    assert_eq!((code, stdout.as_str()), (Some(1), "5-1\n5-3\n"));
    let expected =
        "fanfare: line 2: Bad event: the type is reserved\nfanfare: 1 of 3 lines were not published\n";
    assert_eq!(stderr, expected);
}

#[tokio::test]
async fn what_is_wrong_with_the_arguments_is_said_before_anything_is_sent() {
    let server = Server::with([]).await;
    for args in [
        &["publish"][..],
        &["publish", "room:7"],
        &["publish", "a b", "x"],
        &["publish", "a", "x", "--type", "gap"],
        &["publish", "a", "x", "--key", "k", "--ephemeral"],
        &["publish", "a", "--lines", "--json-lines"],
        &["listen", "--session", "7"],
        &["listen", "--server", "ftp://example.com"],
        &["history", "a", "--limit", "0"],
        &["presence", "a b"],
        &["sessions", "u", "--disconnect", "x"],
        &["no-such-command"],
    ] {
        let (code, stdout, stderr) = said(&server.run(args, "").await);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn history_reads_on_until_it_has_enough() {
    let page = |from: u32, to: u32, more: bool| {
        let events: Vec<Value> = (from..=to)
            .map(|n| json!({"id": format!("5-{n}"), "time": 5, "type": "message", "data": n.to_string()}))
            .collect();
        let answer = json!({"channel": "c", "events": events, "next": format!("5-{to}"), "more": more, "gap": from == 1});
        (200, "application/json", answer.to_string())
    };
    let server = Server::with([page(1, 1000, true), page(1001, 1500, true)]).await;
    let output = server.run(&["history", "c", "--limit", "1500", "--json"], "").await;
    assert_eq!(lines(&output).len(), 1500);
    assert!(said(&output).2.contains("may be missing"));
    let uris: Vec<String> = server.seen().into_iter().map(|seen| seen.uri).collect();
    assert_eq!(
        uris,
        ["/v1/channels/c/events?after=earliest&limit=1000", "/v1/channels/c/events?after=5-1000&limit=500"]
    );
}

fn problem(status: u16, code: &str) -> Answer {
    let body = json!({"type": "", "code": code, "title": "T", "status": status, "detail": "because"});
    (status, "application/problem+json", body.to_string())
}

#[tokio::test]
async fn revoke_says_what_is_revoked() {
    let (token, user) = (json!({"jti": "x"}), json!({"user": "42", "before": 1_700_000_000}));
    for (args, body, text) in [
        (["revoke", "--jti", "x"], &token, "the token is revoked\n"),
        (["revoke", "--user", "42"], &user, "tokens of 42 issued before 1700000000 are revoked\n"),
    ] {
        let answer = (200, "application/json", body.to_string());
        let server = Server::with([answer.clone(), answer]).await;
        assert_eq!(said(&server.run(&args, "").await), (Some(0), text.to_owned(), String::new()));
        let json = server.run(&[&args[..], &["--json"]].concat(), "").await;
        assert_eq!(lines(&json), vec![body.clone()]);
    }
}

#[tokio::test]
async fn dead_letters_are_listed_on_until_there_are_enough() {
    let page = |from: u32, to: u32, more: bool| {
        let letters: Vec<Value> = (from..=to)
            .map(|n| {
                let id = format!("5-{n}");
                json!({"id": id, "time": 5, "entry": "4-0", "reason": "r", "channel": "c", "bytes": 9, "complete": true})
            })
            .collect();
        let answer = json!({"dead_letters": letters, "next": format!("5-{to}"), "more": more});
        (200, "application/json", answer.to_string())
    };
    let server = Server::with([page(1, 3, true), page(4, 5, true), page(1, 2, true)]).await;
    let output = server.run(&["dead", "list", "--limit", "5", "--json"], "").await;
    assert_eq!(lines(&output).last().unwrap()["id"], "5-5");
    let (_, stdout, stderr) =
        said(&server.run(&["dead", "list", "--after", "1-0", "--limit", "2"], "").await);
    assert!(stdout.starts_with("ID ") && stdout.lines().count() == 3, "{stdout}");
    assert!(stderr.contains("--after 5-2"), "{stderr}");
    let uris: Vec<String> = server.seen().into_iter().map(|seen| seen.uri).collect();
    let asked = ["after=0-0&limit=5", "after=5-3&limit=2", "after=1-0&limit=2"];
    assert_eq!(uris, asked.map(|query| format!("/v1/dead-letters?{query}")));
}

#[tokio::test]
async fn a_dead_letter_that_is_not_requeued_is_named_and_a_lost_answer_says_so() {
    let done = (200, "application/json", json!({"id": "5-2", "entry": "9-0"}).to_string());
    let lost = (200, "application/json", "{".to_owned());
    let server = Server::with([problem(409, "incomplete"), done, lost, problem(503, "draining")]).await;
    let (code, stdout, stderr) = said(&server.run(&["dead", "requeue", "5-1", "5-2"], "").await);
    assert_eq!((code, &*stdout), (Some(1), "5-2 is requeued as 9-0\n"));
    assert_eq!(stderr, "fanfare: 5-1 is not requeued: T: because\n");
    let (code, _, stderr) = said(&server.run(&["dead", "requeue", "5-3", "5-4"], "").await);
    assert!(code == Some(1) && stderr.contains("5-3 may be requeued or not"), "{stderr}");
    let (code, _, stderr) = said(&server.run(&["dead", "drop", "5-3", "5-4"], "").await);
    assert!(code == Some(1) && stderr.contains("5-3 and later entries are not dropped"), "{stderr}");
    let uris: Vec<String> = server.seen().into_iter().map(|seen| seen.uri).collect();
    assert_eq!(
        uris[2..],
        ["/v1/dead-letters/5-3/requeue", "/v1/dead-letters/5-3"],
        "no entry after a failure"
    );
    assert!(said(&server.run(&["dead", "show", "5"], "").await).2.contains("<milliseconds>-<sequence>"));
}

#[tokio::test]
async fn presence_counts_and_lists_all_users() {
    let page = |users: &[&str], next: Option<&str>| {
        json!({"channel": "a/b", "sessions": 3, "users": 1, "user_ids": users, "next": next}).to_string()
    };
    let count = json!({"channel": "a/b", "sessions": 3, "users": 1}).to_string();
    let script = [
        count,
        page(&["7", "8"], Some("8")),
        page(&["9"], None),
        page(&["7"], Some("7")),
        page(&["8"], None),
    ];
    let server = Server::with(script.map(|text| (200, "application/json", text))).await;
    let (_, stdout, _) = said(&server.run(&["presence", "a/b"], "").await);
    assert_eq!(stdout, "a/b: 3 sessions, 1 user\n");
    let (_, stdout, _) = said(&server.run(&["presence", "a/b", "--users"], "").await);
    assert_eq!(stdout, "a/b: 3 sessions, 1 user\n7\n8\n9\n");
    let printed = server.run(&["presence", "a/b", "--users", "--json"], "").await;
    let wanted = json!({"channel": "a/b", "sessions": 3, "users": 1, "user_ids": ["7", "8"]});
    assert_eq!(serde_json::from_slice::<Value>(&printed.stdout).unwrap(), wanted);
    let uris: Vec<_> = server.seen().into_iter().map(|seen| seen.uri).collect();
    let path = "/v1/channels/a%2Fb/presence";
    let listed = |after: &str| format!("{path}?users=1000{after}");
    assert_eq!(uris, [path.to_owned(), listed(""), listed("&after=8"), listed(""), listed("&after=7")]);
}

#[tokio::test]
async fn tables_are_aligned_and_cannot_play_tricks() {
    let nodes = json!({"nodes": [
        {"id": "a", "address": "127.0.0.1:1", "since": 0, "connections": 12, "draining": false},
        {"id": "b-long", "address": "127.0.0.1:2", "since": 0, "connections": 0, "draining": true},
    ]});
    let sessions = json!({"user": "u", "sessions": [
        {"session": "s", "node": "a", "since": 0, "address": "\u{1b}[2J10.0.0.1"},
    ]});
    let script = [nodes.to_string(), sessions.to_string(), json!({"disconnected": 1}).to_string()];
    let server = Server::with(script.map(|text| (200, "application/json", text))).await;
    let (_, stdout, _) = said(&server.run(&["nodes"], "").await);
    let starts: Vec<Option<usize>> =
        stdout.lines().map(|line| line.find("127.0.0.1").or(line.find("ADDRESS"))).collect();
    assert_eq!(starts, [Some(9); 3], "{stdout}");
    assert!(stdout.contains("draining"), "{stdout}");
    let (_, stdout, _) = said(&server.run(&["sessions", "u/1"], "").await);
    assert!(!stdout.contains('\u{1b}') && stdout.contains("10.0.0.1"), "{stdout}");
    let session = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
    let (_, stdout, _) = said(&server.run(&["sessions", "u/1", "--disconnect", session], "").await);
    assert_eq!(stdout, "1 session disconnected\n");
    let seen = server.seen();
    assert_eq!(seen[1].uri, "/v1/users/u%2F1/sessions");
    assert_eq!(seen[2].uri, format!("/v1/users/u%2F1/sessions/{session}"));
}

#[tokio::test]
async fn a_refused_connection_is_reported_with_its_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, _, stderr) = said(&fanfare(&format!("http://{free}"), &["nodes"], "").await);
    assert_eq!(code, Some(1));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&free.to_string()), "{stderr}");
}

#[tokio::test]
async fn ctrl_c_ends_listening_cleanly_and_says_where_it_was() {
    let server = Server::with([stream(&format!("{HELLO}id: a1\ndata: x\n\n{OPEN}"))]).await;
    let mut child = command(&server.address, &["listen", "--format", "raw"]).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).await.unwrap();
    assert_eq!(first, "a1  message  x\n");
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    let (code, _, stderr) = said(&ended(child).await);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.ends_with("to resume: --after a1\n"), "{stderr}");
}

#[tokio::test]
async fn a_reader_that_stops_early_is_no_failure() {
    let events = "id: a1\ndata: x\n\n".repeat(2000);
    let server = Server::with([stream(&format!("{HELLO}{events}{OPEN}"))]).await;
    let mut child = command(&server.address, &["listen", "-q", "--format", "raw"]).spawn().unwrap();
    drop(child.stdout.take());
    let (code, _, stderr) = said(&ended(child).await);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn health_says_yes_or_why_not() {
    let not_ready = r#"{"ready":false,"parts":{"redis":{"ok":false,"reason":"away"},"pubsub":{"ok":true}}}"#;
    let server = Server::with([
        (200, "application/json", r#"{"status":"ok"}"#.into()),
        (200, "application/json", r#"{"ready":true,"parts":{}}"#.into()),
        (503, "application/json", not_ready.into()),
    ])
    .await;
    let listen = server.address.strip_prefix("http://").unwrap();
    // Where clients are sent is not where the node of this machine is.
    let ask = async |more: &[&str]| {
        said(&fanfare("http://192.0.2.1:1", &[&["health", "--listen", listen], more].concat(), "").await)
    };
    assert_eq!(ask(&[]).await, (Some(0), "alive\n".into(), String::new()));
    assert_eq!(ask(&["--ready"]).await, (Some(0), "ready\n".into(), String::new()));
    let (code, stdout, stderr) = ask(&["--ready"]).await;
    assert_eq!((code, &*stdout, &*stderr), (Some(1), "", "fanfare: not ready: redis: away\n"));
    let asked: Vec<_> = server.seen().into_iter().map(|seen| seen.uri).collect();
    assert_eq!(asked, ["/healthz", "/readyz", "/readyz"]);
}

#[tokio::test]
async fn health_asks_where_the_settings_let_the_node_listen() {
    let server = Server::with([(200, "application/json", r#"{"status":"ok"}"#.into())]).await;
    let listen = server.address.strip_prefix("http://").unwrap();
    let port = listen.rsplit(':').next().unwrap();
    let mut node = command(&server.address, &["health"]);
    // A node would refuse the second; that is not what is asked here.
    node.env("FANFARE_NODE__LISTEN", format!("0.0.0.0:{port}")).env("FANFARE_AUTH__MODE", "jwt");
    let (code, stdout, stderr) = said(&ended(node.spawn().unwrap()).await);
    assert_eq!((code, &*stdout, &*stderr), (Some(0), "alive\n", ""));
}

#[tokio::test]
async fn health_of_a_node_that_hangs_or_is_not_there_is_no() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = mute.local_addr().unwrap().to_string();
    let (code, _, stderr) =
        said(&fanfare("", &["health", "--listen", &listen, "--timeout", "200ms"], "").await);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("did not answer within 200ms"), "{stderr}");
    drop(mute);
    let (code, _, stderr) = said(&fanfare("", &["health", "--listen", &listen], "").await);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("cannot connect to http://{listen}")), "{stderr}");
}
