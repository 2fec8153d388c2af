//! Tokens and grants.

use std::time::Duration;

use fanfare_testkit::token::{Algorithm, Token};
use serde_json::json;

use super::scene_with;

fn good() -> Token {
    Token::of("42").subscribe(&["room:*"]).publish(&["room:7"])
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused() {
    let mut scene = scene_with(|node| node.auth("jwt").set("AUTH__JWT__LEEWAY", "0s")).await;
    let signed = good().sign();
    let (head, rest) = signed.split_once('.').expect("three parts");
    // {"alg":"none","typ":"JWT"}
    let unsigned =
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", rest.split_once('.').expect("two parts").0);
    let other = "another secret that is long enough to be one";
    let cases: Vec<(&str, String, &str, &[&str])> = vec![
        ("nonsense", "x".into(), "bad-token", &[]),
        ("empty", " ".into(), "bad-token", &[]),
        ("alg none", unsigned, "bad-token", &[]),
        ("cut short", signed[..signed.len() - 1].into(), "bad-token", &[]),
        ("another head", format!("{}.{rest}", head.replace('e', "f")), "bad-token", &[]),
        ("another secret", good().signed_with(other, Algorithm::HS256).sign(), "bad-token", &["signature"]),
        (
            "HS512",
            good().signed_with(fanfare_testkit::node::SECRET, Algorithm::HS512).sign(),
            "bad-token",
            &["algorithm"],
        ),
        ("without sub", good().without("sub").sign(), "bad-token", &["sub"]),
        ("without exp", good().without("exp").sign(), "bad-token", &["exp"]),
        ("sub with LF", Token::of("a\nb").sign(), "bad-token", &["sub"]),
        ("empty sub", Token::of("").sign(), "bad-token", &["sub"]),
        ("sub is a fraction", good().claim("sub", 7.5).sign(), "bad-token", &[]),
        ("exp is text", good().claim("exp", "tomorrow").sign(), "bad-token", &[]),
        ("nbf tomorrow", good().claim("nbf", 99_999_999_999_u64).sign(), "bad-token", &["nbf"]),
        ("unknown grant", good().grant("root", true).sign(), "bad-token", &["root"]),
        ("bad pattern", good().subscribe(&["a b"]).sign(), "bad-token", &[]),
        ("expired", good().claim("exp", 1_600_000_000).sign(), "expired-token", &["expired"]),
        ("expires now", good().expires_in(Duration::ZERO).sign(), "expired-token", &["expired"]),
    ];
    for (case, token, code, words) in cases {
        let stream = scene.cluster.a().stream().token(&token).send().await.answer().await;
        scene.after(&format!("{case}, stream"), stream.is_problem(401, code, words)).await;
        let api = scene.cluster.a().api().with_token(&token);
        let publish = api.post(&json!({"channel": "room:7", "data": 1})).await.unwrap();
        scene.after(&format!("{case}, publish"), publish.is_problem(401, code, words)).await;
        assert!(publish.header("www-authenticate").starts_with("Bearer"));
        assert!(!publish.text.contains(&token) || token.trim().len() < 3, "a token is never repeated");
    }
    for path in ["/v1/events", "/v1/nodes", "/v1/channels/room:7/events", "/v1/users/42/sessions"] {
        let answer = scene.cluster.a().api().get(path).await;
        scene.after(path, answer.is_problem(401, "no-token", &[])).await;
    }
    assert_eq!(scene.cluster.redis.get::<usize>(&["EXISTS", "fanfare:{room:7}:log"]).await, 0);
    scene.finish(40).await;
}

#[tokio::test]
async fn what_is_not_granted_is_refused() {
    let mut scene = scene_with(|node| node.auth("jwt")).await;
    let token = good().sign();
    let api = scene.cluster.a().api().with_token(&token);
    for channel in ["secret", "user:43", "room"] {
        let stream = scene.cluster.a().stream().token(&token).channel(channel).send().await.answer().await;
        scene.after(&format!("follow {channel}"), stream.is_problem(403, "no-grant", &[channel])).await;
        let history = api.get(&format!("/v1/channels/{channel}/events")).await;
        scene.after(&format!("history of {channel}"), history.is_problem(403, "no-grant", &[channel])).await;
    }
    for channel in ["room:8", "user:42", "broadcast"] {
        let answer = api.post(&json!({"channel": channel, "data": 1})).await.unwrap();
        scene.after(&format!("publish to {channel}"), answer.is_problem(403, "no-grant", &[channel])).await;
    }
    for (method, path) in [
        ("GET", "/v1/nodes"),
        ("GET", "/v1/users/43/sessions"),
        ("DELETE", "/v1/users/43/sessions"),
        ("DELETE", "/v1/users/43/sessions/0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11"),
    ] {
        let answer = api.call(method, path, &[], "").await.unwrap();
        scene.after(&format!("{method} {path}"), answer.is_problem(403, "no-grant", &[])).await;
    }
    // With tokens, clients cannot choose their user.
    let posing = scene.cluster.a().stream().token(&token).user("43").send().await.answer().await;
    scene.after("user=", posing.is_problem(400, "bad-request", &["user"])).await;
    // A batch is judged item by item.
    let batch = json!([{"channel": "room:7", "data": 1}, {"channel": "room:8", "data": 1}]);
    let results = api.post(&batch).await.unwrap().json();
    assert!(results[0]["id"].is_string(), "{results}");
    let check = fanfare_testkit::api::check_problem(&results[1]["error"], 403, "no-grant", &["room:8"]);
    scene.after("one item of a batch", check).await;
    // And their own sessions are theirs.
    let mut own = scene.cluster.a().stream().token(&token).channel("room:7").open().await;
    let list = api.get("/v1/users/42/sessions").await;
    assert_eq!(list.json()["sessions"][0]["session"], own.session());
    assert_eq!(api.delete(&format!("/v1/users/42/sessions/{}", own.session())).await.status, 200);
    own.expect("disconnected").await;
    scene.finish(15).await;
}

#[tokio::test]
async fn a_token_may_come_in_the_header_the_query_or_a_cookie() {
    let scene = scene_with(|node| node.auth("jwt")).await;
    let token = good().sign();
    let stream = || scene.cluster.a().stream().channel("room:7");
    stream().token(&token).open().await;
    stream().parameter("token", &token).open().await;
    stream().header("Cookie", &format!("a=b; fanfare_token={token}; c=d")).open().await;
    // A page may set cookies of any bytes, and the browser sends all of them in one line.
    stream().header("Cookie", &format!("name=José; fanfare_token={token}")).open().await;
    // The first that is there counts, also when it is not good.
    let refused = stream().token("x").parameter("token", &token).send().await;
    assert_eq!(refused.status(), 401);
    scene.finish(0).await;
}
