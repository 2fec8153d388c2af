//! Every call with every right, by token and by API key.

use fanfare_auth::api_key::{ApiKey, KeyHash};
use fanfare_protocol::rights::{Right, Rights};
use fanfare_protocol::{Grants, Pattern, User};
use http::Request;
use serde_json::json;

use super::tests::{Calls, SECRET, app_with, token};

/// Method, path, body, and the rights of which it needs one, besides that of an admin.
const CALLS: [(&str, &str, &str, &[Right]); 18] = [
    ("GET", "/v1/users/9/sessions", "", &[Right::Look]),
    ("GET", "/v1/nodes", "", &[Right::Look]),
    ("GET", "/v1/streams", "", &[Right::Look]),
    ("GET", "/v1/channels/user:9/settings", "", &[Right::Look]),
    ("GET", "/v1/channels/fanfare:stats/events", "", &[Right::Look]),
    ("DELETE", "/v1/users/9/sessions", "", &[Right::Disconnect]),
    ("DELETE", "/v1/users/9/sessions?revoke=true", "", &[Right::Disconnect]),
    ("DELETE", "/v1/users/9/sessions/0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11", "", &[Right::Disconnect]),
    ("POST", "/v1/revocations", r#"{"jti":"x"}"#, &[Right::Disconnect]),
    ("GET", "/v1/dead-letters", "", &[]),
    ("GET", "/v1/dead-letters/1-0", "", &[]),
    ("DELETE", "/v1/dead-letters/1-0", "", &[]),
    ("POST", "/v1/dead-letters/1-0/requeue", "", &[]),
    ("POST", "/v1/publish", r#"{"channel":"user:9","data":"x"}"#, &[Right::Publish]),
    ("GET", "/v1/channels/user:9/presence", "", &[Right::Look, Right::Publish]),
    ("GET", "/v1/channels/user:9/presence?users=5", "", &[Right::Look]),
    ("GET", "/v1/channels/user:9/events", "", &[]),
    ("GET", "/v1/channels/room:9/events", "", &[]),
];

/// The rights of each caller.
fn callers() -> Vec<Rights> {
    let mut callers = vec![Rights::default(), Rights::ADMIN, Rights::of(&Right::ALL)];
    callers.extend(Right::ALL.map(|right| Rights::of(&[right])));
    callers
}

fn key(at: usize) -> String {
    format!("ffk_{at}")
}

fn calls() -> Calls {
    Calls::of(app_with(|config| {
        config.auth.mode = Some(fanfare_config::auth::AuthMode::Jwt);
        config.auth.jwt.secret = Some(fanfare_config::secret::Secret::new(SECRET.to_owned()));
        let key = |(at, admin)| ApiKey {
            name: User::new("service").unwrap(),
            hash: KeyHash::of(&key(at)),
            grants: Grants { admin, ..Grants::default() },
            events_per_second: None,
            event_data: None,
        };
        config.session.presence_channels = [Pattern::new("user:*").unwrap()].into_iter().collect();
        config.auth.keys = callers().into_iter().enumerate().map(key).collect();
    }))
}

#[tokio::test]
async fn each_call_needs_its_right_by_token_and_by_key() {
    let calls = calls();
    for (at, rights) in callers().into_iter().enumerate() {
        for credential in [token("7", &json!({ "admin": rights })), key(at)] {
            for (method, path, body, any) in CALLS {
                let request = Request::builder().method(method).uri(path);
                let request = request
                    .header("authorization", format!("Bearer {credential}"))
                    .header("content-type", "application/json");
                let answer = calls.send(request.body(body.into()).unwrap()).await;
                let may = rights.is_admin() || any.iter().any(|right| rights.has(*right));
                let what = format!("{method} {path} with {rights:?}: {}", answer.body);
                if may {
                    assert!(answer.status == 200 || answer.status == 404, "{what}");
                } else {
                    assert_eq!((answer.status, answer.code()), (403, "no-grant"), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_accepted_in_the_header_only_and_an_unknown_one_is_refused() {
    let calls = calls();
    let path = "/v1/users/service/sessions";
    assert_eq!(calls.call("GET", path, &key(0)).await.status, 200, "its own sessions");
    for unknown in ["ffk_", "ffk_99", &KeyHash::of(&key(0)).to_string()] {
        let answer = calls.call("GET", path, unknown).await;
        assert_eq!((answer.status, answer.code()), (401, "bad-token"), "{unknown}");
        assert!(!answer.body.to_string().contains("ffk_9"), "{}", answer.body);
    }
    let in_url = calls.call("GET", &format!("{path}?token={}", key(0)), "").await;
    assert_eq!((in_url.status, in_url.code()), (401, "bad-token"));
    assert!(in_url.body["detail"].as_str().unwrap().contains("Authorization"), "{}", in_url.body);
    let cookie = Request::get(path).header("cookie", format!("fanfare_token={}", key(0)));
    let answer = calls.send(cookie.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.code()), (401, "bad-token"));
}
