//! Keys of a URL: rotation under load, and sources that fail in every way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use fanfare_testkit::certificate::Certificate;
use fanfare_testkit::deadline::{becomes, eventually};
use fanfare_testkit::key_pair::{KeyPair, jwk_set};
use fanfare_testkit::key_server::{KeyAnswer, KeyServer};
use fanfare_testkit::node::{Node, NodeBuilder};
use serde_json::json;

const PATH: &str = "/v1/users/7/sessions";
/// The shortest time between two fetches.
const FLOOR: Duration = Duration::from_millis(200);
/// The timeout of a fetch.
const TIMEOUT: Duration = Duration::from_millis(500);

fn node(url: &str) -> NodeBuilder {
    Node::alone()
        .auth("jwt")
        .set("AUTH__JWT__SECRET", "")
        .set("AUTH__JWT__JWKS_URL", url)
        .set("AUTH__JWT__JWKS_MIN_INTERVAL", "200ms")
        .set("AUTH__JWT__JWKS_TIMEOUT", "500ms")
}

fn token(key: &KeyPair) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    key.sign(&json!({"sub": "7", "exp": now.as_secs() + 600}))
}

async fn status(node: &Node, key: &KeyPair) -> u16 {
    node.api().with_token(&token(key)).get(PATH).await.status
}

#[tokio::test]
async fn keys_rotate_under_load_without_one_refused_token() {
    let mut current = Arc::new(KeyPair::new("0"));
    let server = KeyServer::start(KeyAnswer::Body(jwk_set(&[&current]))).await;
    let node = node(&server.url()).start().await;
    let signer = Arc::new(std::sync::Mutex::new(Arc::clone(&current)));
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..8)
        .map(|caller| {
            let (api, signer, stop, calls) =
                (node.api(), Arc::clone(&signer), Arc::clone(&stop), Arc::clone(&calls));
            tokio::spawn(async move {
                let mut refused = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    // One caller is hostile: each of its tokens has a key that does not exist.
                    let key = if caller == 0 {
                        Arc::new(KeyPair::new("forged"))
                    } else {
                        Arc::clone(&signer.lock().unwrap())
                    };
                    let answer = api.clone().with_token(&token(&key)).get(PATH).await;
                    if (answer.status == 200) == (caller == 0) {
                        refused.push(format!("caller {caller}: {} {}", answer.status, answer.text));
                    }
                    calls.fetch_add(1, Ordering::SeqCst);
                }
                refused
            })
        })
        .collect();
    for id in 1..=5 {
        let next = Arc::new(KeyPair::new(&id.to_string()));
        // The new key signs from the moment when it is published.
        server.answer(KeyAnswer::Body(jwk_set(&[&current, &next])));
        *signer.lock().unwrap() = Arc::clone(&next);
        current = next;
        let before = calls.load(Ordering::SeqCst);
        eventually("calls with the new key", async || calls.load(Ordering::SeqCst) > before + 50).await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in load {
        assert_eq!(caller.await.unwrap(), Vec::<String>::new());
    }
    assert!(calls.load(Ordering::SeqCst) > 250);
}

#[tokio::test]
async fn a_source_that_fails_keeps_the_old_keys_and_is_not_asked_too_often() {
    let (old, new) = (KeyPair::new("old"), KeyPair::new("new"));
    let (first, both) = (jwk_set(&[&old]), jwk_set(&[&old, &new]));
    let server = KeyServer::start(KeyAnswer::Body(first.clone())).await;
    let node = node(&server.url()).start().await;
    let many = json!({"keys": vec![new.jwk(); 10_000]}).to_string();
    let secret = json!({"keys": [{"kty": "oct", "k": "A".repeat(64), "kid": "new"}]}).to_string();
    for (name, answer) in [
        ("silence", KeyAnswer::Silence),
        ("drip", KeyAnswer::Drip),
        ("endless", KeyAnswer::Endless),
        ("cut", KeyAnswer::Cut(both.clone())),
        ("noise", KeyAnswer::Noise),
        ("close", KeyAnswer::Close),
        ("500", KeyAnswer::Status(500, both.clone())),
        ("404", KeyAnswer::Status(404, both.clone())),
        ("204", KeyAnswer::Status(204, String::new())),
        ("a redirect", KeyAnswer::Status(302, both.clone())),
        ("HTML", KeyAnswer::Body("<html>Sign in</html>".into())),
        ("nothing", KeyAnswer::Body(String::new())),
        ("no keys", KeyAnswer::Body(r#"{"keys":[]}"#.into())),
        ("10,000 keys", KeyAnswer::Body(many)),
        ("101 keys", KeyAnswer::Body(json!({"keys": vec![new.jwk(); 101]}).to_string())),
        ("a set of more than 256 KiB", KeyAnswer::Body(both.clone() + &" ".repeat(256 * 1024))),
        ("a secret", KeyAnswer::Body(secret)),
        (
            "an RSA key of 17 bits",
            KeyAnswer::Body(r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#.into()),
        ),
        ("late", KeyAnswer::Late(both.clone(), TIMEOUT * 3)),
    ] {
        server.answer(answer);
        let before = (server.requests(), Instant::now());
        let api = node.api().with_token(&token(&new));
        let answer = api.get(PATH).await;
        answer.is_problem(503, "unavailable", &["keys"]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(status(&node, &old).await, 200, "{name}: the old key");
        let (fetches, time) = (server.requests() - before.0, before.1.elapsed());
        let most = time.as_millis() / FLOOR.as_millis() + 2;
        assert!(fetches as u128 <= most, "{name}: {fetches} fetches in {time:?}");
    }
    assert!(node.metrics().await.sum("fanfare_auth_jwks_fetches_total", &["outcome=\"failed\""]) >= 19.0);
    server.answer(KeyAnswer::Body(both));
    becomes("the new key", 200, async || status(&node, &new).await).await;
    assert!(!node.log().contains("AAAA"), "{}", node.log());
    // A withdrawn key is not accepted after the next fetch.
    server.answer(KeyAnswer::Body(jwk_set(&[&new])));
    assert_eq!(status(&node, &KeyPair::new("unknown")).await, 401);
    assert_eq!(status(&node, &old).await, 401);
}

#[tokio::test]
async fn a_node_is_ready_when_it_has_keys() {
    let key = KeyPair::new("a");
    let server = KeyServer::start(KeyAnswer::Close).await;
    let node = node(&server.url()).launch().await;
    let ready = async || node.api().get("/readyz").await;
    eventually("a failed fetch", async || server.requests() > 0).await;
    let answer = ready().await;
    assert!(answer.status == 503 && answer.json()["parts"]["keys"]["ok"] == false, "{}", answer.text);
    assert_eq!(status(&node, &key).await, 503);
    server.answer(KeyAnswer::Body(jwk_set(&[&key])));
    becomes("readiness", 200, async || ready().await.status).await;
    assert_eq!(status(&node, &key).await, 200);
    server.answer(KeyAnswer::Close);
    assert_eq!(status(&node, &KeyPair::new("b")).await, 503);
    assert_eq!(ready().await.status, 200, "the old keys are kept");
}

#[tokio::test]
async fn unknown_keys_of_many_requests_are_one_fetch_at_a_time() {
    let key = KeyPair::new("a");
    let server = KeyServer::start(KeyAnswer::Body(jwk_set(&[&key]))).await;
    let node = node(&server.url()).start().await;
    let (before, begun) = (server.requests(), Instant::now());
    let api = node.api().with_token(&token(&KeyPair::new("b")));
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.get(PATH).await.status })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 401);
    }
    let most = begun.elapsed().as_millis() / FLOOR.as_millis() + 2;
    let fetches = server.requests() - before;
    assert!(fetches >= 1 && fetches as u128 <= most, "{fetches} fetches in {:?}", begun.elapsed());
    assert_eq!(status(&node, &key).await, 200);
}

#[tokio::test]
async fn a_source_over_tls_must_have_a_certificate_that_is_trusted() {
    let key = KeyPair::new("a");
    let (own, other) = (Certificate::default(), Certificate::default());
    let server = KeyServer::over_tls(KeyAnswer::Body(jwk_set(&[&key])), &own).await;
    let url = format!("https://localhost:{}/keys", server.address().port());
    let trusting = |certificate: &Certificate| {
        node(&url).set("AUTH__JWT__JWKS_CA", certificate.authority_file().to_str().unwrap())
    };
    let good = trusting(&own).start().await;
    assert_eq!(status(&good, &key).await, 200);
    let wrong = trusting(&other).launch().await;
    assert_eq!(status(&wrong, &key).await, 503);
    eventually("the reason in the log", async || wrong.log().contains("certificate")).await;
    assert_eq!(server.requests(), 1);
}
