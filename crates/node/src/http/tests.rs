//! Every call but the stream, on the memory broker.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use fanfare_api::health::Part;
use fanfare_auth::new_token::NewToken;
use fanfare_auth::signing_key::SigningKey;
use fanfare_broker::session::Claim;
use fanfare_broker::subscriber::SubscriberState;
use fanfare_broker::{Broker, BrokerSettings, EventLog, MemoryBroker, NodeId, NodeInfo};
use fanfare_config::Config;
use fanfare_config::auth::AuthMode;
use fanfare_config::limits::UserRates;
use fanfare_config::secret::Secret;
use fanfare_coordination::lease::LeaseState;
use fanfare_coordination::metrics::ClusterMetrics;
use fanfare_coordination::revocations::metrics::RevocationMetrics;
use fanfare_coordination::revocations::stream_token::StreamTokens;
use fanfare_coordination::revocations::{RevocationSettings, Revocations};
use fanfare_coordination::session::{SessionSettings, Sessions};
use fanfare_hub::metrics::HubMetrics;
use fanfare_hub::read_budget::ReadBudget;
use fanfare_hub::retry::{RetryPolicy, RetrySettings};
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Event, SessionId, User};
use http::{HeaderMap, Request};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

use super::app::App;
use super::hosts::Hosts;
use super::metrics::HttpMetrics;
use super::places::Places;
use super::readiness::Readiness;
use super::{Side, calls, middleware};
use crate::auth::Auth;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Returns a token for an hour.
pub(crate) fn token(user: &str, grants: &Value) -> String {
    let user = User::new(user).unwrap();
    let grants = serde_json::from_value(grants.clone()).unwrap();
    let token = NewToken { user, grants, ttl: Duration::from_hours(1) };
    let key = SigningKey::secret(SECRET.as_bytes(), None).unwrap();
    let issuer = fanfare_config::auth::JwtConfig::default().settings("auth.jwt".to_owned());
    token.sign(&key, &issuer, SystemTime::now()).unwrap()
}

pub(crate) fn app() -> App {
    app_with(|_| ())
}

/// An app without auth unless `change` says otherwise.
pub(crate) fn app_with(change: impl FnOnce(&mut Config)) -> App {
    app_on(Arc::new(MemoryBroker::new(BrokerSettings::default())), change)
}

pub(crate) fn app_on(broker: Arc<dyn Broker>, change: impl FnOnce(&mut Config)) -> App {
    let mut config = Config::default();
    config.auth.mode = Some(AuthMode::None);
    change(&mut config);
    let mut registry = Registry::default();
    let finite = crate::finite::Finite::new(&config, &broker, &config.node.id, &mut registry);
    let metrics = HttpMetrics::register(&mut registry);
    let hub = Arc::new(HubMetrics::register(&mut registry));
    let ok = || Box::new(|| Part::OK);
    let lease = LeaseState::held_until(Instant::now() + Duration::from_hours(1));
    let settings = SessionSettings { node: config.node.id.clone(), limit: config.limits.sessions_per_user };
    let (lease, wire) =
        (watch::channel(lease).1, watch::channel(SubscriberState { up: true, connects: 1, outage: None }).1);
    let cluster = Arc::new(ClusterMetrics::register(&mut registry));
    let sessions = Sessions::start(
        broker.clone(),
        broker.clone(),
        settings,
        lease,
        wire,
        Arc::new(|_, _, _| ()),
        cluster,
    );
    let node = config.node.id.clone();
    let settings = RevocationSettings {
        node: node.clone(),
        interval: config.auth.revocation_interval,
        keep: config.auth.longest_token(),
        limit: config.auth.revocations,
    };
    let revocations = Revocations::new(broker.clone(), settings, RevocationMetrics::default());
    revocations.skip_reading();
    let tokens = StreamTokens::new(broker.clone(), node, revocations.clone(), Arc::new(|_, _| ()));
    let audit = Arc::new(crate::audit::Audit::new(config.node.id.clone(), &mut registry));
    App {
        audit,
        tracer: fanfare_telemetry::traces::Tracer::default(),
        finite,
        tickets: crate::auth::tickets::Tickets::new(broker.clone(), &config),
        sessions,
        revocations,
        tokens,
        node: config.node.id.clone(),
        broker,
        memory: crate::memory::Memory::new(fanfare_config::bytes(config.limits.memory)),
        budget: Arc::new(ReadBudget::new(
            config.stream.max_log_read_bytes,
            fanfare_config::bytes(config.limits.event_data),
            hub,
        )),
        histories: Places::new(config.limits.history_reads, config.limits.history_reads_per_user),
        auth: Auth::new(&config.auth, crate::auth::CallbackMetrics::default()).unwrap(),
        rates: Arc::new(crate::rates::Rates::new(
            &config.limits,
            crate::rates::metrics::RateMetrics::default(),
        )),
        proxies: crate::address::trusted::TrustedProxies::of(&config.http),
        limits: config.limits,
        gzip: config.stream.gzip,
        retry: RetryPolicy::new(RetrySettings::new(&config.stream, config.drain.retry_spread)),
        http: config.http,
        ack: config.ack,
        presence: config.session.presence_channels,
        retention: config.retention.rules(),
        readiness: Readiness {
            outage: Box::new(|| None),
            redis: ok(),
            pubsub: ok(),
            lease: ok(),
            keys: ok(),
            revocations: ok(),
            draining: ok(),
        },
        ignored: super::ignored::Ignored::default(),
        metrics,
        counts: super::counts::Counts::new(registry),
    }
}

/// The calls of an app.
pub(super) struct Calls(Router);

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    /// Returns the code of a problem, which must look like one.
    pub(super) fn code(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        assert_eq!(self.body["status"], self.status);
        assert!(self.body["title"].is_string() && self.body["detail"].is_string());
        self.body["type"].as_str().unwrap().strip_prefix("/v1/problems#").unwrap()
    }
}

impl Calls {
    pub(super) fn of(app: App) -> Self {
        let app = Arc::new(app);
        let broken =
            Router::new().route("/panic", axum::routing::get(async || -> () { panic!("on purpose") }));
        Self(middleware::around(calls(&app, Side::Both).merge(broken), &app, (Side::Both, Hosts::Every)))
    }

    fn open() -> Self {
        Self::of(app())
    }

    /// With tokens.
    fn guarded(broker: Arc<dyn Broker>) -> Self {
        Self::of(app_on(broker, |config| {
            config.auth.mode = Some(AuthMode::Jwt);
            config.auth.jwt.secret = Some(Secret::new(SECRET.to_owned()));
        }))
    }

    pub(super) async fn send(&self, mut request: Request<Body>) -> Answer {
        request.headers_mut().entry("host").or_insert(http::HeaderValue::from_static("a"));
        let response = self.0.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
        Answer { status, headers, body }
    }

    pub(super) async fn call(&self, method: &str, path: &str, token: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    async fn publish(&self, body: impl Into<Body>, token: &str) -> Answer {
        let mut request =
            Request::post("/v1/publish").header("content-type", "application/json; charset=utf-8");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(body.into()).unwrap()).await
    }
}

#[tokio::test]
async fn what_is_published_is_found_in_the_history() {
    let calls = Calls::open();
    let answer = calls.publish(r#"{"channel":"room:7","type":"said","data":"a\nb","key":"k"}"#, "").await;
    assert_eq!((answer.status, &answer.body["repeat"]), (200, &json!(false)), "{}", answer.body);
    let id = answer.body["id"].clone();
    let again = calls.publish(r#"{"channel":"room:7","data":"other","key":"k"}"#, "").await;
    assert_eq!(again.body, json!({"id": id, "repeat": true}));
    let plain = calls.publish(r#"{"channel":"room:7","data":{"x": 1.50}}"#, "").await;
    let history = calls.get("/v1/channels/room:7/events").await;
    assert_eq!(history.status, 200);
    let events = &history.body["events"];
    assert_eq!(events[0]["id"], id);
    assert_eq!((&events[0]["type"], &events[0]["data"]), (&json!("said"), &json!("a\nb")));
    assert_eq!((&events[1]["type"], &events[1]["data"]), (&json!("message"), &json!(r#"{"x":1.50}"#)));
    assert!(id.as_str().unwrap().starts_with(&events[0]["time"].to_string()));
    let rest = ["channel", "next", "more", "gap"].map(|name| history.body[name].clone());
    assert_eq!(rest, [json!("room:7"), plain.body["id"].clone(), json!(false), json!(false)]);
}

#[tokio::test]
async fn history_goes_on_page_by_page_and_tells_of_a_gap() {
    let broker = Arc::new(MemoryBroker::new(BrokerSettings::default()));
    let channel = Channel::new("a/b").unwrap();
    let event = |n: u32| Publication {
        channel: channel.clone(),
        event: Event::new(None, n.to_string(), 100).unwrap(),
        key: None,
        ephemeral: false,
    };
    broker.publish((0..5).map(event).collect()).await;
    let calls = Calls::of(app_on(Arc::clone(&broker) as Arc<dyn Broker>, |_| ()));
    let data = |answer: &Answer| {
        let events = answer.body["events"].as_array().unwrap();
        events.iter().map(|event| event["data"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = calls.get("/v1/channels/a%2Fb/events?limit=2").await;
    assert_eq!((data(&first), &first.body["more"]), (vec!["0".into(), "1".into()], &json!(true)));
    let next = first.body["next"].as_str().unwrap();
    let second = calls.get(&format!("/v1/channels/a%2Fb/events?limit=3&after={next}")).await;
    assert_eq!((data(&second).len(), &second.body["more"]), (3, &json!(false)));
    assert_eq!(data(&calls.get("/v1/channels/a%2Fb/events?after=latest").await), Vec::<String>::new());
    broker.trim(&channel, 1);
    let gap = calls.get(&format!("/v1/channels/a%2Fb/events?after={next}")).await;
    assert_eq!((data(&gap), &gap.body["gap"]), (vec!["4".into()], &json!(true)));
    let earliest = calls.get("/v1/channels/a%2Fb/events").await;
    assert_eq!(earliest.body["gap"], json!(false));
}

#[tokio::test]
async fn each_item_of_a_batch_has_its_own_result() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(BrokerSettings::default()));
    let calls = Calls::guarded(broker);
    let token = token("7", &json!({"publish": ["room:*"]}));
    let batch = json!([
        {"channel": "room:1", "data": "x"},
        {"channel": "log", "data": "x"},
        {"channel": "room:1"},
        {"channel": "room 1", "data": "x"},
        {"channel": "room:1", "type": "gap", "data": "x"},
        {"channel": "room:1", "data": "x".repeat(65_537)},
        {"channel": "room:1", "data": "x", "ephemeral": true},
        7,
    ]);
    let answer = calls.publish(batch.to_string(), &token).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let codes: Vec<_> =
        answer.body.as_array().unwrap().iter().map(|item| item["error"]["type"].as_str()).collect();
    let code = |code: &'static str| Some(code);
    assert_eq!(
        codes,
        [
            None,
            code("/v1/problems#no-grant"),
            code("/v1/problems#bad-json"),
            code("/v1/problems#bad-channel"),
            code("/v1/problems#bad-event"),
            code("/v1/problems#too-large"),
            None,
            code("/v1/problems#bad-json"),
        ]
    );
    assert_eq!(answer.body[6], json!({"id": null, "repeat": false}));
    assert_eq!(calls.publish("[]", &token).await.body, json!([]));
}

#[tokio::test]
async fn what_cannot_be_published_is_reported() {
    let calls = Calls::of(app_with(|config| {
        config.limits.batch_events = 2;
        config.limits.batch_bytes = bytesize::ByteSize::kib(70);
    }));
    for (body, status, code) in [
        ("", 400, "bad-json"),
        ("{", 400, "bad-json"),
        ("\"text\"", 400, "bad-json"),
        ("{}", 400, "bad-json"),
        (r#"{"channel":"a","data":1,"colour":2}"#, 400, "bad-json"),
        (r#"{"channel":"","data":1}"#, 400, "bad-channel"),
        (r#"{"channel":"a","data":1,"type":"a\nb"}"#, 400, "bad-event"),
        (r#"{"channel":"a","data":1,"key":""}"#, 400, "bad-event"),
        (r#"{"channel":"a","data":1,"key":"k","ephemeral":true}"#, 400, "bad-event"),
        (r#"{"channel":"a","data":"\ud800"}"#, 400, "bad-event"),
        ("[1,2,3]", 413, "too-large"),
    ] {
        let answer = calls.publish(body, "").await;
        assert_eq!((answer.status, answer.code()), (status, code), "{body}");
    }
    let long = format!(r#"{{"channel":"a","data":"{}"}}"#, "x".repeat(66_000));
    assert_eq!(calls.publish(long.clone(), "").await.code(), "too-large");
    let streamed = Body::from_stream(futures_util::stream::iter(
        (0..100).map(|_| Ok::<_, std::io::Error>("[".repeat(1000))),
    ));
    assert_eq!(calls.publish(streamed, "").await.code(), "too-large");
    let utf8 = calls.publish(&b"{\"channel\":\"a\",\"data\":\"\xff\"}"[..], "").await;
    assert_eq!(utf8.code(), "bad-json");
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let calls = Calls::open();
    let send = async |kind: Option<&str>| {
        let mut request = Request::post("/v1/publish");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        calls.send(request.body(Body::from(r#"{"channel":"a","data":1}"#)).unwrap()).await.status
    };
    assert_eq!(send(Some("application/json")).await, 200);
    assert_eq!(send(Some("application/cloudevents+JSON; charset=utf-8")).await, 200);
    for wrong in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("text/json+json")]
    {
        assert_eq!(send(wrong).await, 415, "{wrong:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let calls = Calls::open();
    let answer = calls
        .publish(Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>()), "");
    assert_eq!(answer.await.code(), "request-timeout");
}

async fn claim(broker: &dyn Broker, user: &str) -> SessionId {
    let session = SessionId::random();
    let claim = Claim {
        user: User::new(user).unwrap(),
        session,
        node: NodeId::new("n").unwrap(),
        client: "127.0.0.1:9".into(),
        limit: 9,
    };
    broker.claim(&claim).await.unwrap();
    session
}

#[tokio::test]
async fn users_see_and_end_their_own_sessions_and_admins_everybodys() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(BrokerSettings::default()));
    let session = claim(&*broker, "7").await;
    let calls = Calls::guarded(broker);
    let (own, other) = (token("7", &json!({})), token("8", &json!({})));
    let admin = token("boss", &json!({"admin": true}));
    let list = calls.call("GET", "/v1/users/7/sessions", &own).await;
    assert_eq!(list.body["user"], "7");
    let shown = list.body["sessions"][0].as_object().unwrap();
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["session", "node", "since", "address"]);
    assert_eq!(shown["session"], json!(session));
    assert!(shown["since"].is_u64());
    let path = format!("/v1/users/7/sessions/{session}");
    for (method, path) in
        [("GET", "/v1/users/7/sessions"), ("DELETE", "/v1/users/7/sessions"), ("DELETE", &path)]
    {
        let refused = calls.call(method, path, &other).await;
        assert_eq!((refused.status, refused.code()), (403, "no-grant"));
        assert!(refused.headers["www-authenticate"].to_str().unwrap().contains("insufficient_scope"));
    }
    let one = calls.call("DELETE", &path, &own).await;
    assert_eq!((one.status, one.body), (200, json!({"disconnected": 1})));
    let all = calls.call("DELETE", "/v1/users/7/sessions", &admin).await;
    // The session was recorded for a node that is not there, so the first call removed it at once.
    assert_eq!((all.status, all.body), (200, json!({"disconnected": 0})));
    let none = calls.call("DELETE", &format!("/v1/users/7/sessions/{}", SessionId::random()), &admin).await;
    assert_eq!((none.status, none.code()), (404, "not-found"));
    assert_eq!(calls.call("DELETE", "/v1/users/7/sessions/x", &own).await.code(), "bad-request");
    assert_eq!(calls.call("GET", "/v1/users/a%20b/sessions", &admin).await.code(), "bad-request");
    assert_eq!(calls.call("GET", "/v1/users/%FF/sessions", &admin).await.code(), "bad-request");
}

#[tokio::test]
async fn admins_see_the_nodes() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(BrokerSettings::default()));
    let info = NodeInfo {
        id: NodeId::new("a").unwrap(),
        incarnation: "secret-ish".into(),
        address: "h:1".into(),
        since: 5,
        connections: 3,
        draining: false,
    };
    broker.lease(&info, Duration::from_mins(1)).await.unwrap();
    let calls = Calls::guarded(broker);
    let nodes = calls.call("GET", "/v1/nodes", &token("x", &json!({"admin": true}))).await;
    let wanted = json!({"id": "a", "address": "h:1", "since": 5, "connections": 3, "draining": false});
    assert_eq!(nodes.body, json!({ "nodes": [wanted] }));
    assert_eq!(calls.call("GET", "/v1/nodes", &token("x", &json!({}))).await.code(), "no-grant");
}

#[tokio::test]
async fn a_request_without_a_good_token_is_refused() {
    let calls = Calls::guarded(Arc::new(MemoryBroker::new(BrokerSettings::default())));
    let answer = calls.get("/v1/nodes").await;
    assert_eq!((answer.status, answer.code()), (401, "no-token"));
    assert_eq!(answer.headers["www-authenticate"], r#"Bearer realm="fanfare""#);
    let answer = calls.get("/v1/nodes?token=x").await;
    assert_eq!((answer.status, answer.code()), (401, "bad-token"));
    assert_eq!(calls.publish(r#"{"channel":"a","data":1}"#, "").await.code(), "no-token");
    assert_eq!(calls.get("/v1/channels/a/events").await.code(), "no-token");
    assert_eq!(calls.call("GET", "/v1/channels/a/events", &token("7", &json!({}))).await.code(), "no-grant");
    assert_eq!(calls.get("/healthz").await.status, 200);
    assert_eq!(calls.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_and_what_breaks_is_a_problem_too() {
    let calls = Calls::open();
    let answer = calls.get("/v2/events").await;
    assert_eq!((answer.status, answer.code()), (404, "not-found"));
    let answer = calls.call("PUT", "/v1/publish", "").await;
    assert_eq!((answer.status, answer.code()), (405, "method-not-allowed"));
    assert_eq!(answer.headers["allow"], "POST");
    let answer = calls.call("PATCH", "/v1/users/7/sessions", "").await;
    assert_eq!(answer.headers["allow"], "GET,HEAD,DELETE");
    let answer = calls.get("/panic").await;
    assert_eq!((answer.status, answer.code()), (500, "internal"));
    assert!(!answer.body.to_string().contains("on purpose"));
    assert_eq!(calls.get("/v1/nodes?colour=1").await.code(), "bad-request");
    let metrics = calls.get("/metrics").await.body;
    let metrics = metrics.as_str().unwrap();
    for line in [
        r#"fanfare_http_requests_total{route="none",method="GET",status="404"} 1"#,
        r#"fanfare_http_requests_total{route="/panic",method="GET",status="500"} 1"#,
        r#"fanfare_http_problems_total{code="method-not-allowed"} 2"#,
        r#"fanfare_streams_refused_total{reason="draining"} 0"#,
        r#"fanfare_publishes_total{result="stored"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn readiness_says_which_part_is_wrong() {
    let mut app = app();
    app.readiness.lease = Box::new(|| Part::wrong("another process has the name"));
    let answer = Calls::of(app).get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.body,
        json!({"ready": false, "parts": {
            "redis": {"ok": true}, "pubsub": {"ok": true},
            "lease": {"ok": false, "reason": "another process has the name"}, "keys": {"ok": true},
            "revocations": {"ok": true}, "draining": {"ok": true},
        }})
    );
}

#[tokio::test]
async fn only_allowed_origins_may_call_from_a_page() {
    let allowed = |origins: &[&str]| {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        Calls::of(app_with(|config| config.http.allowed_origins = origins))
    };
    let ask = async |calls: &Calls, origin: &str| {
        let request = Request::options("/v1/publish")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,last-event-id");
        calls.send(request.body(Body::empty()).unwrap()).await
    };
    let some = allowed(&["https://a.example"]);
    let yes = ask(&some, "https://a.example").await;
    assert_eq!(yes.headers["access-control-allow-origin"], "https://a.example");
    assert_eq!(yes.headers["access-control-allow-credentials"], "true");
    assert!(yes.headers["access-control-allow-headers"].to_str().unwrap().contains("last-event-id"));
    assert!(!ask(&some, "https://b.example").await.headers.contains_key("access-control-allow-origin"));
    let every = ask(&allowed(&["*"]), "https://b.example").await;
    assert_eq!(every.headers["access-control-allow-origin"], "*");
    assert!(!every.headers.contains_key("access-control-allow-credentials"));
    assert_eq!(ask(&allowed(&[]), "https://a.example").await.status, 405);
    let problem =
        some.send(Request::get("/v2").header("origin", "https://a.example").body(Body::empty()).unwrap());
    assert_eq!(problem.await.headers["access-control-allow-origin"], "https://a.example");
}

#[tokio::test]
async fn each_acknowledgement_counts_as_a_request() {
    let calls = Calls::of(app_with(|config| config.limits.user.requests_per_second = 10));
    let ack = r#"{"device":"a","channel":"user:7","id":"1-1"}"#;
    let post = |body: String| {
        let request = Request::post("/v1/ack?user=7").header("content-type", "application/json");
        calls.send(request.body(body.into()).unwrap())
    };
    let many = format!("[{}]", vec![ack; 100].join(","));
    assert_eq!(post(many).await.status, 200);
    let next = post(ack.to_owned()).await;
    assert_eq!((next.status, next.code()), (429, "rate-limited"), "the hundred are paid for first");
}

#[tokio::test]
async fn an_event_for_several_channels_counts_towards_each_rate_once_for_each() {
    let event = |channels: usize| {
        let channels: Vec<_> = (0..channels).map(|n| format!("room:{n}")).collect();
        json!({"channels": channels, "data": "x".repeat(1024), "key": format!("k{}", channels.len())})
            .to_string()
    };
    for (rate, setting) in [
        (UserRates { events_per_second: 10, ..UserRates::default() }, "events_per_second"),
        (
            UserRates { bytes_per_second: "10KiB".parse().unwrap(), ..UserRates::default() },
            "bytes_per_second",
        ),
        (
            UserRates { idempotency_keys_per_second: 10, ..UserRates::default() },
            "idempotency_keys_per_second",
        ),
    ] {
        let calls = Calls::of(app_with(|config| {
            config.limits.user = UserRates { channels_per_second: 0, ..rate };
        }));
        let post = |body: String| {
            let request = Request::post("/v1/publish?user=7").header("content-type", "application/json");
            calls.send(request.body(body.into()).unwrap())
        };
        assert_eq!(post(event(300)).await.status, 200, "{setting}");
        let next = post(event(1)).await;
        assert_eq!((next.status, next.code()), (429, "rate-limited"), "{setting}");
        assert!(
            next.body["detail"].as_str().unwrap().contains(&format!("limits.user.{setting}")),
            "{setting}"
        );
    }
}

#[tokio::test]
async fn a_request_for_a_ticket_may_have_a_body_of_no_bytes_in_any_coding() {
    let calls = Calls::of(app());
    let empty = || Body::from_stream(futures_util::stream::empty::<Result<bytes::Bytes, std::io::Error>>());
    let answer = calls.send(Request::post("/v1/tickets?user=7").body(empty()).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let text = Request::post("/v1/tickets?user=7").body(Body::from("{}")).unwrap();
    assert_eq!(calls.send(text).await.code(), "media-type");
}
