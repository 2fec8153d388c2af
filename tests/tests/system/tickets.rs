//! Tickets: one-time credentials of streams, used as a native `EventSource` does: the same URL at each connect.

use std::time::Duration;

use fanfare_testkit::api::Answer;
use fanfare_testkit::binary;
use fanfare_testkit::client::End;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::eventually;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::request::StreamRequest;
use fanfare_testkit::token::Token;
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

fn configured(node: NodeBuilder) -> NodeBuilder {
    node.auth("jwt").set("AUTH__JWT__LEEWAY", "0s").set("LOG__LEVEL", "trace")
}

async fn three() -> Cluster {
    Cluster::on(Redis::start().await, 3, configured).await
}

fn token(user: &str) -> Token {
    Token::of(user).claim("jti", format!("of-{user}")).subscribe(&["room:*"]).publish(&["room:*"])
}

async fn ask(node: &Node, token: &str, body: &str) -> Answer {
    let api = node.api().with_token(token);
    let headers = [("content-type", "application/json")];
    api.call("POST", "/v1/tickets", &headers, body).await.expect("an answer")
}

async fn ticket(node: &Node, token: &str) -> String {
    let answer = ask(node, token, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

fn stream(node: &Node, ticket: &str) -> StreamRequest {
    node.stream().parameter("ticket", ticket).header("Prefer", "status")
}

/// The code of the problem, or nothing for a stream.
async fn refusal(request: StreamRequest) -> Option<String> {
    let client = request.send().await;
    if client.status() == 200 {
        return None;
    }
    let answer = client.answer().await;
    let problem: Value = serde_json::from_str(&answer.text).expect("a problem");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(answer.status != 401 || !answer.header("www-authenticate").is_empty(), "{}", answer.text);
    Some(problem["code"].as_str().expect("a code").to_owned())
}

/// The status of a look at the ticket, which opens no stream.
async fn look(node: &Node, ticket: &str) -> u16 {
    node.api().call("HEAD", &format!("/v1/events?ticket={ticket}"), &[], "").await.expect("an answer").status
}

/// The random part.
fn secret(ticket: &str) -> &str {
    ticket.get(4..47).expect("a ticket")
}

/// No node has written the secret of a ticket anywhere, and Redis has none.
async fn is_kept_secret(cluster: &Cluster, tickets: &[&str]) {
    for node in &cluster.nodes {
        let (log, metrics) = (node.log(), node.admin_api().get("/metrics").await.text);
        assert!(log.contains("request completed"), "a log at trace");
        for ticket in tickets {
            assert!(!log.contains(secret(ticket)) && !metrics.contains(secret(ticket)), "{ticket}");
        }
    }
    let keys: Vec<String> = cluster.redis.get(&["KEYS", "*:tickets"]).await;
    for key in keys {
        let values: Vec<String> = cluster.redis.get(&["HGETALL", &key]).await;
        let shows = |ticket: &&str| values.iter().any(|value| value.contains(secret(ticket)));
        assert!(!values.is_empty() && !tickets.iter().any(shows), "{values:?}");
    }
}

#[tokio::test]
async fn of_a_thousand_tickets_each_opens_one_stream_on_one_of_three_nodes() {
    let cluster = three().await;
    for tens in 0..100 {
        let race = async |at: usize| {
            let ticket = ticket(&cluster.nodes[at % 3], &token(&format!("{tens}-{at}")).sign()).await;
            let uses = cluster.nodes.iter().map(|node| refusal(stream(node, &ticket)));
            let results = join_all(uses).await;
            assert_eq!(results.iter().filter(|result| result.is_none()).count(), 1, "{results:?}");
            let used = results.iter().flatten().filter(|code| *code == "used-ticket").count();
            assert_eq!(used, 2, "{results:?}");
        };
        join_all((0..10).map(race)).await;
    }
}

#[tokio::test]
async fn a_ticket_resumes_its_stream_after_its_node_is_killed_and_no_other() {
    let mut cluster = three().await;
    let publisher = cluster.b().api().with_token(&token("42").sign());
    let ticket = ticket(cluster.b(), &token("42").sign()).await;
    assert_eq!(look(cluster.a(), &ticket).await, 200, "a look does not use it");
    let mut client = stream(cluster.a(), &ticket).channel("room:1").open().await;
    let session = client.session().to_owned();
    publisher.publish("room:1", "x", "one").await;
    client.expect_data("one").await;
    let cursor = client.last_id().to_owned();
    let node = &cluster.nodes[2];
    let again = || stream(node, &ticket).channel("room:1");
    assert_eq!(refusal(again()).await.as_deref(), Some("used-ticket"), "no stream is resumed");
    let other = again().header("Last-Event-ID", &cursor).session(&Uuid::new_v4().to_string());
    assert_eq!(refusal(other).await.as_deref(), Some("used-ticket"), "another session");
    let start = again().after(&cursor);
    assert_eq!(refusal(start).await.as_deref(), Some("used-ticket"), "after= is part of the URL");
    cluster.nodes[0].kill().await;
    publisher.publish("room:1", "x", "two").await;
    client.resume(cluster.b()).await;
    client.expect_data("two").await;
    assert_eq!(client.session(), session, "the same session, which its URL does not name");
    // Its library may send the cursor in the query, and the client may name its session.
    let named = stream(cluster.b(), &ticket).parameter("lastEventId", client.last_id()).session(&session);
    let moved = named.open().await;
    assert_eq!(moved.session(), session);
    assert_eq!(client.expect("superseded").await.json()["session"], session.as_str());
    cluster.nodes.remove(0);
    is_kept_secret(&cluster, &[&ticket]).await;
}

#[tokio::test]
async fn the_long_polls_of_a_ticket_are_one_stream() {
    let cluster = three().await;
    let (token, session) = (token("7").sign(), Uuid::new_v4().to_string());
    let ticket = ticket(cluster.a(), &token).await;
    let poll = |node| stream(node, &ticket).channel("room:1").session(&session).parameter("wait", "0");
    let mut client = poll(cluster.a()).open().await;
    for turn in 1..=4 {
        assert_eq!(client.end().await, End::Clean);
        let number = turn.to_string();
        cluster.a().api().with_token(&token).publish("room:1", "x", &number).await;
        client.resume(&cluster.nodes[turn % 3]).await;
        client.expect_data(&number).await;
    }
    let other = refusal(poll(cluster.b())).await;
    assert_eq!(other.as_deref(), Some("used-ticket"), "a poll without a cursor is another stream");
}

#[tokio::test]
async fn a_ticket_ends_with_its_time_and_with_its_token() {
    let redis = Redis::start().await;
    let cluster = Cluster::on(redis, 2, |node| configured(node).set("AUTH__TICKET_LIFE", "1s")).await;
    let unused = ticket(cluster.a(), &token("1").sign()).await;
    eventually("it was not used in time", async || look(cluster.b(), &unused).await == 401).await;
    assert_eq!(refusal(stream(cluster.b(), &unused)).await.as_deref(), Some("bad-ticket"));
    let short = token("2").expires_in(Duration::from_secs(3)).sign();
    let answer = ask(cluster.a(), &short, "{}").await.json();
    let used = answer["ticket"].as_str().expect("a ticket");
    let expires = answer["expires"].as_u64().expect("a time");
    assert!(expires > answer["use_before"].as_u64().expect("a time"), "{answer}");
    let mut client = stream(cluster.a(), used).open().await;
    eventually("another ticket's time is over", async || {
        let other = ticket(cluster.a(), &token("3").sign()).await;
        // Longer than auth.ticket_life here: looking at the ticket earlier would tell nothing.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        look(cluster.a(), &other).await == 401
    })
    .await;
    client.resume(cluster.b()).await;
    assert_eq!(client.expect("expired").await.json()["reason"], "token");
    assert_eq!(client.end().await, End::Clean);
    client.reconnect(cluster.a()).await;
    assert_eq!(client.status(), 401, "a native EventSource ends for good");
    for bad in
        ["", "x", "fft_", &secret(&unused).repeat(2), &format!("{unused}x"), &unused.replace("fft_", "ffk_")]
    {
        let code = refusal(stream(cluster.a(), bad)).await;
        assert_eq!(code.as_deref(), Some("bad-ticket"), "{bad}");
    }
    is_kept_secret(&cluster, &[&unused, used]).await;
}

#[tokio::test]
async fn a_revoked_token_takes_its_tickets_and_their_streams_with_it() {
    let cluster = three().await;
    let admin = cluster.b().api().with_token(&Token::of("root").admin().sign());
    let revoke = async |body: Value| {
        let headers = [("content-type", "application/json")];
        let answer =
            admin.call("POST", "/v1/revocations", &headers, body.to_string()).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    for (user, body) in [("1", json!({"jti": "of-1"})), ("2", json!({"user": "2"}))] {
        let bearer = token(user).sign();
        let (used, unused) = (ticket(cluster.a(), &bearer).await, ticket(cluster.a(), &bearer).await);
        let mut client = stream(cluster.a(), &used).open().await;
        let stays = ticket(cluster.a(), &token("3").sign()).await;
        revoke(body).await;
        assert_eq!(client.expect("expired").await.json()["reason"], "revoked");
        for node in &cluster.nodes {
            eventually("the node knows", async || look(node, &unused).await == 401).await;
            let resumed = stream(node, &used).header("Last-Event-ID", client.last_id());
            for request in [resumed, stream(node, &unused)] {
                assert_eq!(refusal(request).await.as_deref(), Some("revoked-token"));
            }
        }
        assert_eq!(refusal(stream(cluster.b(), &stays)).await, None);
    }
}

#[tokio::test]
async fn a_ticket_grants_what_its_body_names_and_never_more_than_its_token() {
    let cluster = three().await;
    let bearer = token("42").sign();
    let answer = ask(cluster.a(), &bearer, r#"{"subscribe":["room:1","room:2*"]}"#).await;
    let narrow = answer.json()["ticket"].as_str().expect("a ticket").to_owned();
    assert_eq!(answer.json()["user"], "42");
    assert_eq!(answer.header("cache-control"), "no-store");
    let of = |channel: &str| stream(cluster.b(), &narrow).channel(channel);
    assert_eq!(refusal(of("room:3")).await.as_deref(), Some("no-grant"), "and the ticket is not used");
    assert_eq!(refusal(of("user:43")).await.as_deref(), Some("no-grant"));
    assert_eq!(refusal(of("room:22").channel("room:1").channel("user:42")).await, None);
    for (body, status, code, word) in [
        (r#"{"subscribe":["room:1","*"]}"#, 403, "no-grant", "*"),
        (r#"{"subscribe":["user:43"]}"#, 403, "no-grant", "user:43"),
        (r#"{"subscribe":["ro*"]}"#, 403, "no-grant", "ro*"),
        (r#"{"subscribe":["a b"]}"#, 400, "bad-json", ""),
        (r#"{"publish":["room:1"]}"#, 400, "bad-json", "publish"),
        (r#"{"admin":true}"#, 400, "bad-json", "admin"),
        ("[]", 400, "bad-json", ""),
        ("x", 400, "bad-json", ""),
    ] {
        let answer = ask(cluster.a(), &bearer, body).await;
        answer.is_problem(status, code, &[word]).unwrap_or_else(|e| panic!("{body}: {e}"));
    }
    // It opens streams, and nothing else.
    let unused = ticket(cluster.a(), &Token::of("root").admin().sign()).await;
    for (method, path) in [("POST", "/v1/tickets"), ("POST", "/v1/publish"), ("GET", "/v1/nodes")] {
        let with = format!("{path}?ticket={unused}");
        let answer = cluster.a().api().call(method, &with, &[], "").await.expect("an answer");
        answer.is_problem(400, "bad-request", &["ticket"]).unwrap_or_else(|e| panic!("{e}"));
        assert!(!answer.text.contains(&unused), "{}", answer.text);
        let answer =
            cluster.a().api().with_token(&unused).call(method, path, &[], "").await.expect("an answer");
        answer.is_problem(401, "bad-token", &[]).unwrap_or_else(|e| panic!("{e}"));
    }
    for (name, value) in [("token", bearer.as_str()), ("user", "42")] {
        let both = stream(cluster.a(), &unused).parameter(name, value);
        assert_eq!(refusal(both).await.as_deref(), Some("bad-request"));
    }
    let everything = stream(cluster.a(), &unused).channel("user:7");
    assert_eq!(refusal(everything).await, None, "an admin's");
    is_kept_secret(&cluster, &[&narrow, &unused]).await;
    let none = cluster.a().api().call("POST", "/v1/tickets", &[], "").await.expect("an answer");
    none.is_problem(401, "no-token", &[]).unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_ticket_with_the_visitors_cookie() {
    let node = configured(Node::alone()).start().await;
    let cookie = format!("fanfare_token={}", token("42").sign());
    let from = async |origin: &str| {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        node.api().call("POST", "/v1/tickets", &headers, "").await.expect("an answer")
    };
    let answer = from("https://evil.example").await;
    answer.is_problem(403, "foreign-origin", &[]).unwrap_or_else(|e| panic!("{e}"));
    let answer = from(&format!("http://{}", node.address())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    // A cookie that is sent with the stream does not matter: the ticket may be of another user.
    let ticket = ticket(&node, &token("43").sign()).await;
    let foreign = stream(&node, &ticket).header("Cookie", &cookie).header("Origin", "https://evil.example");
    let client = foreign.open().await;
    let sessions = node.api().with_token(&token("43").sign()).get("/v1/users/43/sessions").await;
    assert!(sessions.text.contains(client.session()), "{}", sessions.text);
}

#[tokio::test]
async fn a_stream_that_cannot_be_opened_now_leaves_its_ticket_unused() {
    let redis = Redis::durable().await;
    let mut cluster =
        Cluster::on(redis, 1, |node| configured(node).set("LIMITS__SESSIONS_PER_USER", "1")).await;
    let bearer = token("42").sign();
    let mut first = cluster.a().stream().token(&bearer).open().await;
    let ticket = ticket(cluster.a(), &bearer).await;
    let native = cluster.a().stream().parameter("ticket", &ticket);
    let mut client = native.clone().send().await;
    assert_eq!(client.expect("overloaded").await.json()["reason"], "user-sessions");
    assert_eq!(look(cluster.a(), &ticket).await, 200);
    first.close();
    cluster.redis.stop().await;
    let mut client = native.clone().send().await;
    assert_eq!(client.expect("overloaded").await.json()["reason"], "unavailable");
    cluster.redis.start_again().await;
    eventually("Redis is back", async || look(cluster.a(), &ticket).await == 200).await;
    eventually("the first session has ended", async || {
        let mut client = native.clone().send().await;
        client.next().await.kind == "connected"
    })
    .await;
    assert_eq!(refusal(stream(cluster.a(), &ticket)).await.as_deref(), Some("used-ticket"));
}

#[tokio::test]
async fn a_users_unused_tickets_are_bounded() {
    let redis = Redis::start().await;
    let cluster = Cluster::on(redis, 2, |node| configured(node).set("LIMITS__TICKETS_PER_USER", "2")).await;
    let bearer = token("42").sign();
    let (first, second) = (ticket(cluster.a(), &bearer).await, ticket(cluster.b(), &bearer).await);
    let full = ask(cluster.b(), &bearer, "").await;
    full.is_problem(429, "user-tickets", &["limits.tickets_per_user"]).unwrap_or_else(|e| panic!("{e}"));
    assert!(!full.header("retry-after").is_empty());
    ticket(cluster.b(), &token("43").sign()).await;
    let client = stream(cluster.a(), &first).open().await;
    let third = ticket(cluster.b(), &bearer).await;
    let resumed = stream(cluster.a(), &first).header("Last-Event-ID", client.last_id());
    assert_eq!(refusal(resumed).await.as_deref(), Some("bad-ticket"), "it made room");
    for unused in [&second, &third] {
        assert_eq!(look(cluster.a(), unused).await, 200);
    }
    let wide: Vec<String> = (0..200).map(|at| format!("room:{at}:{}", "x".repeat(30))).collect();
    let wide = Token::of("44").subscribe(&wide.iter().map(String::as_str).collect::<Vec<_>>()).sign();
    let long = ask(cluster.a(), &wide, "").await;
    long.is_problem(400, "bad-request", &["4096", "subscribe"]).unwrap_or_else(|e| panic!("{e}"));
}

#[tokio::test]
async fn a_ticket_of_an_api_key_ends_with_the_key_and_the_command_makes_one() {
    let redis = Redis::start().await;
    let made = binary::command().args(["key", "--name", "board"]).output().expect("the binary can be run");
    let text = String::from_utf8(made.stdout).expect("text");
    let key = text.lines().next().expect("a key").to_owned();
    let hash = text.split_once("sha256 = \"").and_then(|(_, rest)| rest.split('"').next()).expect("a hash");
    let keys = format!("[{{ name = \"board\", sha256 = \"{hash}\", subscribe = [\"room:*\"] }}]");
    let with = configured(Node::of(&redis)).id("a").set("AUTH__KEYS", &keys).start().await;
    let without = configured(Node::of(&redis)).id("b").start().await;
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::from(binary::command());
        command.args(["ticket", "--server", &format!("http://{}", with.address())]).args(arguments);
        command.env("FANFARE_TOKEN", &key).output().await.expect("the binary can be run")
    };
    let output = run(&["--subscribe", "room:1"]).await;
    let ticket = String::from_utf8(output.stdout).expect("text");
    let ticket = ticket.trim();
    assert_eq!(refusal(stream(&without, ticket)).await.as_deref(), Some("bad-ticket"), "without the key");
    let client = stream(&with, ticket).channel("room:1").open().await;
    let resumed = stream(&without, ticket).header("Last-Event-ID", client.last_id());
    assert_eq!(refusal(resumed).await.as_deref(), Some("bad-ticket"));
    let json: Value = serde_json::from_slice(&run(&["--json"]).await.stdout).expect("JSON");
    assert_eq!(json["user"], "board");
    let refused = run(&["--subscribe", "secret"]).await;
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(!refused.status.success() && said.contains("secret"), "{said}");
}
