//! The audit log, read back: every refusal, call of an admin, disconnect and revocation once, with who, from where and why.

use std::path::Path;
use std::time::Duration;

use fanfare_testkit::api::{Answer, Api};
use fanfare_testkit::binary;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::node::{Node, SECRET};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};

const PASSWORD: &str = "a-password-of-redis";

/// A call with credentials, from an address behind a balancer.
struct From<'a>(&'a str, &'a str);

async fn call(api: &Api, what: (&str, &str), From(address, token): From<'_>, body: &Value) -> Answer {
    with_headers(
        api,
        what,
        &[("x-forwarded-for", address), ("authorization", &format!("Bearer {token}"))],
        body,
    )
    .await
}

async fn with_headers(
    api: &Api,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let headers = [&[("content-type", "application/json"), ("prefer", "status")], headers].concat();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    api.call(method, path, &headers, body).await.expect("an answer")
}

/// An API key that may look, and its entry for `auth.keys`.
fn key() -> (String, String) {
    let made = binary::command().args(["key", "--name", "ops"]).output().expect("the binary can be run");
    let text = String::from_utf8(made.stdout).expect("text");
    let hash = text.split_once("sha256 = \"").and_then(|(_, rest)| rest.split('"').next()).expect("a hash");
    let entry = format!("[{{ name = \"ops\", sha256 = \"{hash}\", admin = [\"look\"] }}]");
    (text.lines().next().expect("a line").to_owned(), entry)
}

async fn redis() -> (Redis, String) {
    let redis = Redis::start().await;
    let user = ["ACL", "SETUSER", "node", "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"];
    redis.get::<()>(&user).await;
    let url = redis.url().replace("redis://", &format!("redis://node:{PASSWORD}@"));
    (redis, url)
}

/// What `printf %s TEXT | sha256sum` prints.
fn sha256(text: &str) -> String {
    let command = format!("printf %s {text} | sha256sum");
    let output = std::process::Command::new("sh").args(["-c", &command]).output().expect("there is a shell");
    String::from_utf8(output.stdout).expect("text").split_whitespace().next().expect("a hash").to_owned()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the audit log");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// The members that a line has to have, as one text: `name=value`.
fn has(line: &Value, wanted: &str) -> bool {
    let shown = |name: &str| match &line[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    wanted.split(' ').all(|pair| pair.split_once('=').is_some_and(|(name, value)| shown(name) == value))
}

fn check(file: &Path, wanted: &[String]) {
    let lines = lines(file);
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(has(line, wanted), "wanted: {wanted}\n   got: {line}");
        assert!(
            line["timestamp"].is_string() && line["target"] == "fanfare::audit" && line["why"] != "",
            "{line}"
        );
    }
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
}

struct Tokens {
    user: String,
    fresh: String,
    admin: String,
    expired: String,
    forged: String,
    publisher: String,
}

impl Tokens {
    fn new() -> Self {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let of = |user: &str, jti: &str| Token::of(user).claim("jti", jti).claim("iat", now - 10);
        Self {
            user: of("42", "first").sign(),
            fresh: of("42", "second").sign(),
            admin: Token::of("root").admin().sign(),
            expired: of("42", "old").claim("exp", now - 3600).sign(),
            forged: of("42", "x").secret("another secret that nodes do not know at all").sign(),
            publisher: Token::of("shop").publish(&["order:*"]).sign(),
        }
    }

    /// What must not be logged: the tokens, and their signatures.
    fn secrets(&self) -> Vec<&str> {
        let Self { user, fresh, admin, expired, forged, publisher } = self;
        let tokens = [user, fresh, admin, expired, forged, publisher];
        tokens.iter().flat_map(|token| [&***token, token.rsplit('.').next().unwrap()]).collect()
    }
}

/// Refused callers, all on one node.
async fn refusals(node: &Node, tokens: &Tokens, key: &str) -> Vec<String> {
    let (api, none) = (node.api(), Value::Null);
    let stream = ("GET", "/v1/events");
    with_headers(&api, stream, &[("x-forwarded-for", "203.0.113.1"), ("x-request-id", "r-1")], &none).await;
    call(&api, ("GET", "/v1/channels/room:1/events"), From("203.0.113.2", &tokens.forged), &none).await;
    call(&api, ("GET", "/v1/users/42/sessions"), From("203.0.113.3", &tokens.expired), &none).await;
    call(&api, ("GET", "/v1/events?channel=room:1"), From("203.0.113.4", &tokens.user), &none).await;
    let query = format!("/v1/events?token={}", tokens.forged);
    with_headers(&api, ("GET", &query), &[("x-forwarded-for", "203.0.113.5")], &none).await;
    let cookie = format!("fanfare_token={}", tokens.publisher);
    let headers =
        [("cookie", &*cookie), ("origin", "https://evil.example"), ("x-forwarded-for", "203.0.113.6")];
    with_headers(&api, ("POST", "/v1/publish"), &headers, &json!({"channel": "order:1", "data": "x"})).await;
    let events = json!([{"channel": "order:1", "data": "x"}, {"channel": "user:42", "data": "x"}]);
    call(&api, ("POST", "/v1/publish"), From("203.0.113.7", &tokens.publisher), &events).await;
    call(&node.admin_api(), ("DELETE", "/v1/users/42/sessions"), From("203.0.113.8", key), &none).await;
    // No caller is refused here.
    call(&api, ("GET", "/v1/users/42/sessions"), From("203.0.113.9", &tokens.user), &none).await;
    call(&api, ("POST", "/v1/publish"), From("203.0.113.9", &tokens.publisher), &events[0]).await;
    let query = format!("/v1/events?ticket=fft_{}.NDI", "A".repeat(43));
    with_headers(&api, ("GET", &query), &[("x-forwarded-for", "203.0.113.10")], &none).await;
    [
        "action=stream outcome=refused code=no-token status=401 user=null address=203.0.113.1 request_id=r-1",
        "action=history outcome=refused code=bad-token user=null address=203.0.113.2 method=GET",
        "action=look outcome=refused code=expired-token user=42 address=203.0.113.3 credential=token",
        "action=stream outcome=refused code=no-grant status=403 user=42 address=203.0.113.4",
        "action=stream outcome=refused code=bad-token user=null address=203.0.113.5 route=/v1/events",
        "action=publish outcome=refused code=foreign-origin user=shop credential=cookie address=203.0.113.6",
        "action=publish outcome=refused code=null status=200 user=shop events=2 events_refused=1 address=203.0.113.7",
        "action=disconnect outcome=refused code=no-grant user=ops credential=key of_user=42 listener=admin",
        "action=stream outcome=refused code=bad-ticket status=401 user=null address=203.0.113.10",
    ]
    .map(|line| format!("node=a {line}"))
    .to_vec()
}

/// Calls of admins, and of users about their own sessions, on one node.
async fn calls(node: &Node, session: &str, tokens: &Tokens, key: &str) -> Vec<String> {
    let (api, none) = (node.admin_api(), Value::Null);
    let admin = || From("198.51.100.1", &tokens.admin);
    call(&api, ("GET", "/v1/nodes"), admin(), &none).await;
    call(&api, ("GET", "/v1/users/42/sessions"), admin(), &none).await;
    call(&api, ("GET", "/v1/nodes"), From("198.51.100.2", key), &none).await;
    let presence = "/v1/channels/order:1/presence";
    call(&api, ("GET", &format!("{presence}?users=5")), admin(), &none).await;
    // By a grant of the channel.
    call(&node.api(), ("GET", presence), From("203.0.113.9", &tokens.publisher), &none).await;
    let refresh = format!("/v1/sessions/{session}/token");
    call(&node.api(), ("POST", &refresh), From("203.0.113.9", &tokens.fresh), &none).await;
    let one = format!("/v1/users/42/sessions/{session}");
    call(&api, ("DELETE", &one), admin(), &none).await;
    call(&api, ("DELETE", "/v1/users/42/sessions/00000000-0000-4000-8000-000000000000"), admin(), &none)
        .await;
    call(&api, ("POST", "/v1/revocations"), admin(), &json!({"jti": "stolen"})).await;
    call(&api, ("DELETE", "/v1/users/42/sessions?revoke=true"), admin(), &none).await;
    call(&node.api(), ("GET", "/v1/users/42/sessions"), From("203.0.113.9", &tokens.user), &none).await;
    call(&node.api(), ("POST", "/v1/publish"), admin(), &json!({"channel": "user:42", "data": "x"})).await;
    for (method, path) in [
        ("GET", "/v1/dead-letters"),
        ("GET", "/v1/dead-letters/5-1"),
        ("POST", "/v1/dead-letters/5-1/requeue"),
        ("POST", "/v1/dead-letters/5-1/requeue"),
        ("DELETE", "/v1/dead-letters/5-2"),
    ] {
        call(&api, (method, path), admin(), &none).await;
    }
    let by_admin = "user=root credential=token address=198.51.100.1 peer=127.0.0.1 listener=admin";
    let key = &sha256(key)[..12];
    let hash = |jti: &str| sha256(jti)[..32].to_owned();
    vec![
        format!("action=look outcome=ok status=200 route=/v1/nodes of_user=null {by_admin}"),
        format!("action=look outcome=ok of_user=42 {by_admin}"),
        format!("action=look outcome=ok user=ops credential=key key={key} address=198.51.100.2"),
        format!("action=presence outcome=ok channel=order:1 {by_admin}"),
        format!(
            "action=replace-token outcome=ok user=42 of_session={session} listener=public address=203.0.113.9"
        ),
        format!("action=disconnect outcome=ok disconnected=1 of_user=42 of_session={session} {by_admin}"),
        format!("action=disconnect outcome=failed code=not-found of_user=42 {by_admin}"),
        format!("action=revoke outcome=ok of_token={} {by_admin}", hash("stolen")),
        format!("action=disconnect outcome=ok disconnected=0 of_user=42 {by_admin}"),
        format!("action=revoke outcome=ok of_user=42 {by_admin}"),
        format!(
            "action=look outcome=refused code=revoked-token user=42 token={} listener=public",
            hash("first")
        ),
        "action=publish outcome=ok user=root channel=user:42 listener=public".to_owned(),
        format!("action=look outcome=ok route=/v1/dead-letters of_entry=null {by_admin}"),
        format!("action=look outcome=ok route=/v1/dead-letters/{{id}} of_entry=5-1 {by_admin}"),
        format!("action=requeue outcome=ok status=200 of_entry=5-1 {by_admin}"),
        format!("action=requeue outcome=failed code=not-found of_entry=5-1 {by_admin}"),
        format!("action=drop outcome=ok status=200 method=DELETE of_entry=5-2 {by_admin}"),
    ]
}

#[tokio::test]
async fn a_day_on_two_nodes_is_in_the_audit_log_once_and_no_secret_is_in_any_log() {
    let (redis, through) = redis().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = |id: &str| dir.path().join(format!("{id}.log"));
    let (key, keys) = key();
    let mut nodes = Vec::new();
    for id in ["a", "b"] {
        let node = Node::of(&redis).id(id).through(&through).auth("jwt").admin().set("AUTH__KEYS", &keys);
        let node = node.set("HTTP__TRUSTED_PROXIES", "127.0.0.1/32").set("LOG__LEVEL", "trace");
        let node = node.set("SESSION__PRESENCE_CHANNELS", "order:*");
        let node = node.set("LOG__FORMAT", "json").set("LOG__AUDIT", file(id).to_str().expect("text"));
        nodes.push(node.start().await);
    }
    let mut cluster = Cluster { nodes, redis };
    let tokens = Tokens::new();
    let mut stream = cluster.a().stream().token(&tokens.user).open().await;
    let refused = refusals(cluster.a(), &tokens, &key).await;
    for id in ["5-1", "5-2"] {
        let dead = [
            "XADD",
            "fanfare:ingest:dead",
            id,
            "reason",
            "r",
            "entry",
            "1-0",
            "channel",
            "order:9",
            "data",
            "x",
        ];
        cluster.redis.get::<String>(&dead).await;
    }
    let called = calls(cluster.b(), stream.session(), &tokens, &key).await;
    stream.expect("disconnected").await;
    for node in &mut cluster.nodes {
        node.terminate();
        assert!(node.ended(Duration::from_secs(10)).await.success());
    }
    check(&file("a"), &refused);
    check(&file("b"), &called);
    let logs = cluster.nodes.iter().map(Node::log);
    let files = ["a", "b"].map(|id| std::fs::read_to_string(file(id)).expect("the audit log"));
    let all: Vec<String> = logs.chain(files).collect();
    assert!(all[0].contains("\"TRACE\"") || all[0].contains("\"DEBUG\""), "{}", all[0]);
    for secret in tokens.secrets().into_iter().chain([SECRET, PASSWORD, &key]) {
        assert!(all.iter().all(|log| !log.contains(secret)), "{secret}");
    }
}

#[tokio::test]
async fn a_flood_of_refusals_is_counted_and_what_admins_do_meanwhile_is_all_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("audit.log");
    let node =
        Node::alone().auth("jwt").set("HTTP__TRUSTED_PROXIES", "127.0.0.1/32").set("LOG__FORMAT", "json");
    let mut node = node.set("LOG__AUDIT", file.to_str().expect("text")).start().await;
    let admin = Token::of("root").admin().sign();
    let flood = async |address: &str, token: &str, calls: usize| {
        for _ in 0..calls {
            let answer = call(&node.api(), ("GET", "/v1/nodes"), From(address, token), &Value::Null).await;
            assert_eq!(
                answer.status,
                if token == admin {
                    200
                } else if token == "x" {
                    401
                } else {
                    403
                }
            );
        }
    };
    let user = Token::of("42").sign();
    // A right makes no room for refusals of what it does not give.
    let publisher = Token::of("43").grant("admin", json!(["publish"])).sign();
    tokio::join!(
        flood("203.0.113.1", "x", 300),
        flood("203.0.113.2", &user, 300),
        flood("203.0.113.4", &publisher, 300),
        flood("203.0.113.3", "x", 3),
        flood("203.0.113.1", &admin, 50),
    );
    node.terminate();
    assert!(node.ended(Duration::from_secs(10)).await.success());
    let lines = lines(&file);
    let of = |wanted: &str| {
        let lines: Vec<&Value> = lines.iter().filter(|line| has(line, wanted)).collect();
        (lines.len(), lines.iter().filter_map(|line| line["held_back"].as_u64()).sum::<u64>())
    };
    assert_eq!(of("user=root outcome=ok"), (50, 0));
    assert_eq!(of("address=203.0.113.3"), (3, 0), "another address is not concerned");
    for (refused, told) in [
        ("action=look code=bad-token address=203.0.113.1", "action=held-back address=203.0.113.1 user=null"),
        ("action=look code=no-grant user=42", "action=held-back user=42"),
        ("action=look code=no-grant user=43", "action=held-back user=43"),
    ] {
        let ((shown, held_back), (_, told)) = (of(refused), of(told));
        assert!((10..250).contains(&shown), "{refused}: {shown}");
        assert_eq!(shown as u64 + held_back + told, 300, "{refused}");
    }
}

#[tokio::test]
async fn the_audit_log_is_beside_the_nodes_log_whatever_its_level_unless_it_is_off() {
    for (output, is_there) in [("stderr", true), ("off", false)] {
        let node = Node::alone().auth("jwt").set("LOG__LEVEL", "off").set("LOG__AUDIT", output);
        let mut node = node.start().await;
        node.api().get("/v1/nodes").await.is_problem(401, "no-token", &[]).unwrap_or_else(|e| panic!("{e}"));
        node.terminate();
        assert!(node.ended(Duration::from_secs(10)).await.success());
        let line = "INFO fanfare::audit: node=a action=\"look\" outcome=\"refused\"";
        if is_there {
            eventually("the line is there", async || node.log().contains(line)).await;
        } else {
            assert!(!node.log().contains("audit"), "{}", node.log());
        }
    }
}

/// Asks for a revocation over HTTP/2, and resets the request before it has an answer.
async fn ask_and_leave(node: &Node, token: &str) {
    let socket = tokio::net::TcpStream::connect(node.address()).await.expect("the node listens");
    let (mut client, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/v1/revocations", node.address()))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let (answer, mut body) =
        client.send_request(request.body(()).expect("a request"), false).expect("it is sent");
    body.send_data(r#"{"jti":"x"}"#.into(), true).expect("it is sent");
    let answer = tokio::time::timeout(Duration::from_millis(200), answer).await;
    assert!(answer.is_err(), "Redis does not answer: {answer:?}");
    body.send_reset(h2::Reason::CANCEL);
    drop(client);
    let _ = tokio::time::timeout(Duration::from_secs(5), connection).await;
}

#[tokio::test]
async fn a_call_whose_client_leaves_has_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("audit.log");
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").set("LOG__FORMAT", "json");
    let node = node.set("LOG__AUDIT", file.to_str().expect("text")).start().await;
    redis.pause();
    eventually("the line is there", async || {
        ask_and_leave(&node, &Token::of("root").admin().sign()).await;
        lines(&file).iter().any(|line| has(line, "action=revoke outcome=unknown status=499 user=root"))
    })
    .await;
    redis.resume();
}

#[tokio::test]
async fn a_revocation_has_its_line_though_the_sessions_could_not_be_disconnected() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("audit.log");
    let redis = Redis::start().await;
    redis.get::<()>(&["SET", "fanfare:{user:42}:sessions", "x"]).await;
    let node = Node::of(&redis).auth("jwt").set("LOG__FORMAT", "json");
    let node = node.set("LOG__AUDIT", file.to_str().expect("text")).start().await;
    let api = node.api().with_token(&Token::of("root").admin().sign());
    let answer = api.delete("/v1/users/42/sessions?revoke=true").await;
    answer.is_problem(409, "refused", &[]).expect("a key of another type");
    for wanted in ["action=disconnect outcome=failed of_user=42", "action=revoke outcome=ok of_user=42"] {
        let lines = lines(&file);
        assert_eq!(lines.iter().filter(|line| has(line, wanted)).count(), 1, "{wanted}: {lines:?}");
    }
}
