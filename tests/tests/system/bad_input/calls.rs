//! The other calls.

use super::scene;

const SESSION: &str = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";

#[tokio::test]
async fn a_call_that_cannot_be_meant_is_refused() {
    let mut scene = scene().await;
    let cases: Vec<(&str, String, u16, &str, &[&str])> = vec![
        ("GET", "/".into(), 404, "not-found", &[]),
        ("GET", "/v2/events".into(), 404, "not-found", &[]),
        ("GET", "/v1/channels".into(), 404, "not-found", &[]),
        ("GET", "/v1/publish".into(), 405, "method-not-allowed", &["Allow"]),
        ("POST", "/v1/events".into(), 405, "method-not-allowed", &["Allow"]),
        ("DELETE", "/v1/nodes".into(), 405, "method-not-allowed", &["Allow"]),
        ("PUT", "/healthz".into(), 405, "method-not-allowed", &["Allow"]),
        ("GET", "/v1/channels/a%20b/events".into(), 400, "bad-channel", &["' '"]),
        ("GET", "/v1/channels/a%7Bb/events".into(), 400, "bad-channel", &["'{'"]),
        ("GET", format!("/v1/channels/{}/events", "c".repeat(256)), 400, "bad-channel", &["256"]),
        ("GET", "/v1/channels/%FF/events".into(), 400, "bad-channel", &["UTF-8"]),
        ("GET", "/v1/channels/a/events?limit=0".into(), 400, "bad-request", &["limit", "1000"]),
        ("GET", "/v1/channels/a/events?limit=1001".into(), 400, "bad-request", &["limit", "1000"]),
        ("GET", "/v1/channels/a/events?limit=x".into(), 400, "bad-request", &["limit"]),
        ("GET", "/v1/channels/a/events?after=x".into(), 400, "bad-cursor", &[]),
        ("GET", "/v1/channels/a/events?after=5-".into(), 400, "bad-cursor", &[]),
        ("GET", "/v1/channels/a/events?last=5".into(), 400, "bad-request", &["last"]),
        ("GET", "/v1/users/a%20b/sessions".into(), 400, "bad-request", &["user"]),
        ("DELETE", "/v1/users/42/sessions/7".into(), 400, "bad-request", &["uuid"]),
        ("DELETE", format!("/v1/users/42/sessions/{SESSION}"), 404, "not-found", &[SESSION]),
        ("GET", "/v1/dead-letters?limit=1001".into(), 400, "bad-request", &["limit", "1000"]),
        ("GET", "/v1/dead-letters?after=latest".into(), 400, "bad-request", &["after", "<milliseconds>"]),
        ("GET", "/v1/dead-letters?last=1".into(), 400, "bad-request", &["last", "after="]),
        ("GET", "/v1/dead-letters/1".into(), 400, "bad-request", &["id", "<milliseconds>"]),
        ("GET", "/v1/dead-letters/1-0".into(), 404, "not-found", &["1-0"]),
        ("DELETE", "/v1/dead-letters/01-0".into(), 400, "bad-request", &["id"]),
        ("DELETE", "/v1/dead-letters/1-0".into(), 404, "not-found", &["1-0"]),
        ("DELETE", "/v1/dead-letters".into(), 405, "method-not-allowed", &["Allow"]),
        ("POST", "/v1/dead-letters/-/requeue".into(), 400, "bad-request", &["id"]),
        ("POST", "/v1/dead-letters/1-0/requeue".into(), 404, "not-found", &["1-0"]),
        ("POST", "/v1/dead-letters/1-0/requeue?all=true".into(), 400, "bad-request", &["all"]),
        ("GET", "/v1/dead-letters/1-0/requeue".into(), 405, "method-not-allowed", &["Allow"]),
        ("GET", "/v1/streams?after=-1".into(), 400, "bad-request", &["after"]),
        ("GET", "/v1/streams?limit=5".into(), 400, "bad-request", &["limit"]),
        ("GET", "/v1/nodes?x=1".into(), 400, "bad-request", &["x"]),
    ];
    for (method, path, status, code, words) in cases {
        let answer = scene.cluster.a().api().call(method, &path, &[], "").await.unwrap();
        let mut check = answer.is_problem(status, code, words);
        if status == 405 && answer.header("allow").is_empty() {
            check = check.and(Err("405 without Allow".into()));
        }
        scene.after(&format!("{method} {path}"), check).await;
    }
    scene.finish(33).await;
}
