//! Tokens that should not be accepted, and secrets that should not be.

use std::process::Output;
use std::time::Duration;

use fanfare_testkit::binary;
use fanfare_testkit::node::{Node, SECRET};
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::{Algorithm, Token};

/// 400 days: longer than any token may be good by default.
const LONG: Duration = Duration::from_hours(400 * 24);

#[tokio::test]
async fn a_token_of_another_kind_is_refused_although_its_signature_fits() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").start().await;
    let status = async |token: Token| {
        let answer = node.api().with_token(&token.sign()).get("/v1/users/7/sessions").await;
        if answer.status != 200 {
            answer.is_problem(401, "bad-token", &[]).unwrap_or_else(|e| panic!("{e}"));
        }
        answer.status
    };
    for typ in [None, Some("JWT"), Some("jwt"), Some("at+jwt"), Some("application/at+jwt")] {
        assert_eq!(status(Token::of("7").typ(typ)).await, 200, "{typ:?}");
    }
    for typ in ["secevent+jwt", "logout+jwt", "dpop+jwt", "id+jwt", "application/secevent+jwt", "JWS", ""] {
        assert_eq!(status(Token::of("7").typ(Some(typ))).await, 401, "{typ:?}");
    }
    // The secret has 53 bytes: as many as the hash of HS384, and fewer than that of HS512.
    assert_eq!(status(Token::of("7").signed_with(SECRET, Algorithm::HS384)).await, 200);
    assert_eq!(status(Token::of("7").signed_with(SECRET, Algorithm::HS512)).await, 401);
}

#[tokio::test]
async fn a_token_for_ever_is_refused_with_the_setting_that_would_allow_it() {
    let redis = Redis::start().await;
    let ask = async |node: &Node, token: Token| {
        node.api().with_token(&token.sign()).get("/v1/users/7/sessions").await
    };
    let node = Node::of(&redis).auth("jwt").start().await;
    for token in [
        Token::of("7").claim("exp", 9_999_999_999_u64),
        Token::of("7").claim("exp", 1e300),
        Token::of("7").expires_in(LONG),
        Token::of("7").claim("iat", 1),
    ] {
        let answer = ask(&node, token).await;
        answer.is_problem(401, "bad-token", &["auth.jwt.max_lifetime"]).unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(ask(&node, Token::of("7").expires_in(LONG / 2)).await.status, 200);
    let open = Node::of(&redis).id("b").auth("jwt").set("AUTH__JWT__MAX_LIFETIME", "0s").start().await;
    assert_eq!(ask(&open, Token::of("7").claim("exp", 9_999_999_999_u64)).await.status, 200);
    let short = Node::of(&redis).id("c").auth("jwt").set("AUTH__JWT__MAX_LIFETIME", "10m").start().await;
    assert_eq!(ask(&short, Token::of("7")).await.status, 401, "an hour");
}

fn fanfare(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = binary::command();
    command.args(arguments).envs(variables.iter().copied());
    let Output { status, stderr, .. } = command.output().expect("the binary can be run");
    (status.code(), String::from_utf8(stderr).expect("text"))
}

#[test]
fn a_secret_that_can_be_guessed_is_refused_when_the_node_starts_and_is_not_shown() {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--auth", "jwt"];
    for (secret, word) in [
        ("s".repeat(31), "31 bytes"),
        ("s".repeat(64), "repeats"),
        ("changeme".repeat(8), "repeats the same 8 bytes"),
        ("0123456789".repeat(4), "repeats the same 10 bytes"),
        (format!("{}{}", "ab".repeat(20), "cd".repeat(20)), "4 different bytes"),
        ("a-string-secret-at-least-256-bits-long".to_owned(), "published"),
    ] {
        let (code, said) = fanfare(&serve, &[("FANFARE_AUTH__JWT__SECRET", &secret)]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(word) && said.contains("openssl rand -hex 32"), "{word}: {said}");
        assert!(!said.contains(&secret), "{said}");
        // `fanfare token` refuses it as well.
        let (code, said) = fanfare(&["token", "--user", "7"], &[("FANFARE_AUTH__JWT__SECRET", &secret)]);
        assert!(code == Some(2) && said.contains(word), "{said}");
    }
}

#[test]
fn fanfare_token_makes_no_token_that_a_node_would_refuse() {
    let secret = [("FANFARE_AUTH__JWT__SECRET", SECRET)];
    let (code, said) = fanfare(&["token", "--user", "7", "--ttl", "10years"], &secret);
    assert!(code == Some(1) && said.contains("auth.jwt.max_lifetime"), "{code:?} {said}");
    assert_eq!(fanfare(&["token", "--user", "7", "--ttl", "365days"], &secret).0, Some(0));
}
