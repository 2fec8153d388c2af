//! Tokens that are revoked, replaced or expired while their streams are open, each by a call to another node than the stream's.

use std::time::Duration;

use fanfare_testkit::client::End;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{becomes, eventually};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};
use uuid::Uuid;

async fn three() -> Cluster {
    Cluster::on(Redis::start().await, 3, |node| node.auth("jwt")).await
}

/// Seconds since 1970, some seconds from now.
fn seconds(from_now: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("not so far away") + from_now
}

fn token(jti: &str) -> Token {
    Token::of("42").claim("jti", jti).claim("iat", seconds(-10)).subscribe(&["room:*"]).publish(&["room:*"])
}

fn admin() -> String {
    Token::of("root").admin().sign()
}

async fn revoke(node: &Node, body: &Value) -> (u16, String) {
    let api = node.api().with_token(&admin());
    let headers = [("content-type", "application/json")];
    let answer = api.call("POST", "/v1/revocations", &headers, body.to_string()).await.expect("an answer");
    (answer.status, answer.text)
}

/// The status of each kind of call with a token, and the code of its problem.
async fn calls(node: &Node, token: &str) -> Vec<(u16, String)> {
    let api = node.api().with_token(token);
    let event = json!({"channel": "room:1", "data": "x"});
    let stream = api.call("GET", "/v1/events", &[("prefer", "status")], "");
    let mut answers = vec![
        api.post(&event).await.expect("an answer"),
        api.get("/v1/users/42/sessions").await,
        api.get("/v1/channels/room:1/events").await,
        api.call("POST", &format!("/v1/sessions/{}/token", Uuid::new_v4()), &[], "")
            .await
            .expect("an answer"),
    ];
    // A stream that is opened does not end by itself.
    if answers[0].status != 200 {
        answers.push(stream.await.expect("an answer"));
    }
    let code = |text: &str| {
        let problem: Value = serde_json::from_str(text).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    };
    answers.iter().map(|answer| (answer.status, code(&answer.text))).collect()
}

async fn is_refused(node: &Node, token: &str) -> bool {
    calls(node, token).await.iter().all(|(status, code)| *status == 401 && code == "revoked-token")
}

async fn is_accepted(node: &Node, token: &str) -> bool {
    let statuses: Vec<u16> = calls(node, token).await.iter().map(|(status, _)| *status).collect();
    statuses == [200, 200, 200, 404]
}

async fn replace(node: &Node, session: &str, token: &str) -> (u16, String) {
    let api = node.api().with_token(token);
    let answer =
        api.call("POST", &format!("/v1/sessions/{session}/token"), &[], "").await.expect("an answer");
    (answer.status, answer.text)
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_and_is_refused_on_every_node() {
    let cluster = three().await;
    let (bad, good) = (token("bad").sign(), token("good").sign());
    let mut revoked = cluster.a().stream().token(&bad).channel("room:1").open().await;
    let mut stays = cluster.a().stream().token(&good).channel("room:1").open().await;
    assert!(is_accepted(cluster.b(), &bad).await);
    for client in [&mut revoked, &mut stays] {
        client.expect_data("x").await;
    }
    assert_eq!(revoke(cluster.b(), &json!({"jti": "bad"})).await, (200, json!({"jti": "bad"}).to_string()));
    assert_eq!(revoked.expect("expired").await.json()["reason"], "revoked");
    assert!(
        revoked.retry().expect("a stream has one") >= Duration::from_secs(2),
        "time to get another token"
    );
    assert_eq!(revoked.end().await, End::Clean);
    for node in &cluster.nodes {
        eventually("the token is refused", || is_refused(node, &bad)).await;
        assert!(is_accepted(node, &good).await, "a token with another id");
    }
    revoked.reconnect(cluster.a()).await;
    assert_eq!(revoked.status(), 401);
    for _ in &cluster.nodes {
        stays.expect_data("x").await;
    }
}

#[tokio::test]
async fn a_users_tokens_are_revoked_with_the_sessions_in_one_call() {
    let cluster = three().await;
    let old = token("old").sign();
    let undated = token("undated").without("iat").sign();
    let other = Token::of("43").sign();
    let mut streams = [
        cluster.a().stream().token(&old).open().await,
        cluster.nodes[2].stream().token(&undated).open().await,
    ];
    let mut stays = cluster.a().stream().token(&other).open().await;
    let api = cluster.b().api();
    let path = "/v1/users/42/sessions?revoke=true";
    api.clone()
        .with_token(&other)
        .delete(path)
        .await
        .is_problem(403, "no-grant", &[])
        .expect("another user's");
    let answer = api.with_token(&admin()).delete(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for client in &mut streams {
        // A node may read the revocation before it gets the command to disconnect.
        let last = client.next().await;
        let is_revoked = last.kind == "expired" && last.json()["reason"] == "revoked";
        assert!(last.kind == "disconnected" || is_revoked, "{last:?}");
        assert_eq!(client.end().await, End::Clean);
    }
    let new = token("new").claim("iat", seconds(5)).sign();
    for node in &cluster.nodes {
        for token in [&old, &undated] {
            eventually("the token is refused", || is_refused(node, token)).await;
        }
        assert!(is_accepted(node, &new).await, "a token that is issued later");
    }
    stays.close();
}

#[tokio::test]
async fn tokens_are_revoked_by_their_time_and_users_revoke_their_own() {
    let cluster = three().await;
    let (old, new) = (token("old").claim("iat", seconds(-3600)).sign(), token("new").sign());
    let body = json!({"user": "42", "before": seconds(-1800)});
    let (status, text) = revoke(cluster.a(), &body).await;
    assert_eq!((status, serde_json::from_str::<Value>(&text).expect("JSON")), (200, body));
    for node in &cluster.nodes {
        eventually("the old token is refused", || is_refused(node, &old)).await;
        assert!(is_accepted(node, &new).await);
    }
    let answer = cluster.b().api().with_token(&new).delete("/v1/users/42/sessions?revoke=true").await;
    assert_eq!(answer.status, 200);
    for node in &cluster.nodes {
        eventually("the user's own call revoked it", || is_refused(node, &new)).await;
    }
    let api = cluster.a().api().with_token(&token("other").claim("iat", seconds(5)).sign());
    let headers = [("content-type", "application/json")];
    let body = json!({"user": "42"}).to_string();
    let answer = api.call("POST", "/v1/revocations", &headers, body).await.expect("an answer");
    answer.is_problem(403, "no-grant", &["admin"]).expect("only admins");
}

#[tokio::test]
async fn a_token_is_replaced_in_place_through_another_node() {
    let cluster = three().await;
    let first = token("first").expires_in(Duration::from_secs(3)).sign();
    let (second, third) = (token("second").sign(), token("third").sign());
    let mut client = cluster.a().stream().token(&first).channel("room:1").open().await;
    let session = client.session().to_owned();
    let (status, text) = replace(cluster.b(), &session, &second).await;
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, &answer["node"], &answer["session"]), (200, &json!("a"), &json!(session)), "{text}");
    // The first token has expired, and the stream goes on.
    eventually("the first token has expired", async || {
        let answer = cluster.b().api().with_token(&first).get("/v1/users/42/sessions").await;
        answer.is_problem(401, "expired-token", &[]).is_ok()
    })
    .await;
    // A stream that was to end has ended half a second later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(is_accepted(cluster.b(), &second).await);
    client.expect_data("x").await;
    // What revokes the first token does not end it; what revokes the one in use does.
    revoke(cluster.b(), &json!({"jti": "first"})).await;
    let (status, _) = replace(cluster.a(), &session, &third).await;
    assert_eq!(status, 200, "by the stream's own node");
    revoke(cluster.nodes.last().expect("three"), &json!({"jti": "second"})).await;
    eventually("the second token is refused", || is_refused(cluster.a(), &second)).await;
    assert!(is_accepted(cluster.b(), &third).await);
    client.expect_data("x").await;
    revoke(cluster.b(), &json!({"jti": "third"})).await;
    // The second token may have published once more before it was refused.
    assert_eq!(client.find(|event| event.kind == "expired").await.json()["reason"], "revoked");
}

#[tokio::test]
async fn a_replaced_token_expires_too_and_belongs_to_the_same_user() {
    let cluster = three().await;
    let mut client = cluster.a().stream().token(&token("first").sign()).channel("room:1").open().await;
    let session = client.session().to_owned();
    for (caller, why) in [
        (Token::of("43").sign(), "another user's token"),
        (Token::of("root").admin().sign(), "an admin's token"),
    ] {
        let (status, text) = replace(cluster.b(), &session, &caller).await;
        assert!(status == 404 && text.contains("no session"), "{why}: {text}");
    }
    assert_eq!(replace(cluster.b(), "7", &token("x").sign()).await.0, 400);
    let short = token("short").expires_in(Duration::from_secs(2)).sign();
    assert_eq!(replace(cluster.b(), &session, &short).await.0, 200);
    assert_eq!(client.expect("expired").await.json()["reason"], "token");
    client.reconnect(cluster.b()).await;
    assert_eq!(client.status(), 200, "the first token is still valid");
}

#[tokio::test]
async fn a_new_token_with_fewer_grants_ends_a_stream_that_needs_them() {
    let cluster = three().await;
    let open = async || cluster.a().stream().token(&token("wide").sign()).channel("room:1").open().await;
    let narrow = Token::of("42").subscribe(&["room:2"]).sign();
    let mut client = open().await;
    assert_eq!(replace(cluster.b(), client.session(), &narrow).await.0, 200);
    assert_eq!(client.expect("expired").await.json()["reason"], "ungranted");
    assert_eq!(client.end().await, End::Clean);
    let back = cluster.b().stream().token(&narrow).channel("room:1").send().await;
    assert_eq!(back.status(), 403, "the client learns why");
    // A stream without that channel is not concerned.
    let mut own = cluster.a().stream().token(&token("own").sign()).open().await;
    assert_eq!(replace(cluster.b(), own.session(), &narrow).await.0, 200);
    let event = json!({"channel": "user:42", "data": "for you"});
    assert_eq!(cluster.b().api().with_token(&admin()).post(&event).await.expect("an answer").status, 200);
    own.expect_data("for you").await;
}

#[tokio::test]
async fn revocations_outlive_nodes_and_a_redis_that_lost_everything() {
    let mut cluster = three().await;
    let bad = token("bad").sign();
    assert_eq!(revoke(cluster.a(), &json!({"jti": "bad"})).await.0, 200);
    let later = Node::of(&cluster.redis).id("d").auth("jwt").start().await;
    assert!(is_refused(&later, &bad).await, "a node that starts later");
    cluster.redis.stop().await;
    let answer = cluster.a().api().with_token(&bad).get("/v1/users/42/sessions").await;
    answer.is_problem(401, "revoked-token", &[]).expect("a node keeps what it knows while Redis is away");
    cluster.redis.forget();
    cluster.redis.start_again().await;
    becomes("the nodes give it back, once", 1, async || {
        cluster.redis.ask::<usize>(&["XLEN", "fanfare:revocations"]).await.unwrap_or_default()
    })
    .await;
    let last = Node::of(&cluster.redis).id("e").auth("jwt").start().await;
    assert!(is_refused(&last, &bad).await, "a node that has never met the first Redis");
}

#[tokio::test]
async fn a_node_that_has_not_read_the_revocations_accepts_no_token() {
    let redis = Redis::start().await;
    redis.cli(&["SET", "fanfare:revocations", "not a stream"]).await;
    let node = Node::of(&redis).auth("jwt").launch().await;
    let good = token("good").sign();
    let answer = node.api().with_token(&good).get("/v1/users/42/sessions").await;
    answer.is_problem(503, "unavailable", &["revocations"]).unwrap_or_else(|e| panic!("{e}"));
    let mut stream = node.stream().token(&good).send().await;
    assert_eq!(stream.expect("overloaded").await.json()["reason"], "unavailable");
    let parts = node.readyz(503).await;
    assert_eq!(parts["parts"]["revocations"]["ok"], false, "{parts}");
    redis.cli(&["DEL", "fanfare:revocations"]).await;
    node.ready().await;
    assert!(is_accepted(&node, &good).await);
}

#[tokio::test]
async fn the_number_of_revocations_is_bounded_and_bad_requests_are_clear() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").set("AUTH__REVOCATIONS", "2").start().await;
    for jti in ["1", "2"] {
        assert_eq!(revoke(&node, &json!({ "jti": jti })).await.0, 200);
    }
    let (status, text) = revoke(&node, &json!({"jti": "3"})).await;
    assert!(
        status == 409 && text.contains("revocations-full") && text.contains("auth.revocations"),
        "{text}"
    );
    for (body, word) in [
        (json!({}), "either jti"),
        (json!({"jti": "1", "user": "42"}), "either jti"),
        (json!({"user": "42", "before": 99_999_999_999_u64}), "future"),
        (json!({"user": "a b"}), "user: "),
        (json!({"tokens": "all"}), "unknown field"),
        (json!({"jti": "x".repeat(5000)}), "4096 bytes"),
    ] {
        let (status, text) = revoke(&node, &body).await;
        assert!((400..500).contains(&status) && text.contains(word), "{word}: {text}");
    }
    let api = node.api().with_token(&admin());
    let answer = api.delete("/v1/users/42/sessions?revoke=yes").await;
    answer.is_problem(400, "bad-request", &["revoke="]).unwrap_or_else(|e| panic!("{e}"));
}
