//! The description of the API, `/v1/openapi.json`: every operation of a live node answers as described.

mod contract;

use std::time::Duration;

use fanfare_testkit::api::{Answer, Api};
use fanfare_testkit::deadline::{becomes, eventually};
use fanfare_testkit::node::Node;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};

use self::contract::Contract;

const JSON: (&str, &str) = ("content-type", "application/json");
const GRANTS: &[&str] = &["room:*", "stream:*"];
const SESSION: &str = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
const OTHER: &str = "1c5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f12";

/// A call: its method, path, headers and body, and the status of its answer.
type Step = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str, u16);

/// A node with its description, and clients of it.
struct Stage {
    redis: Redis,
    node: Node,
    contract: Contract,
    /// Without a token.
    anonymous: Api,
    /// The user 7, who may do everything with the rooms.
    user: Api,
    admin: Api,
}

impl Stage {
    async fn new() -> Self {
        let redis = Redis::start().await;
        let node = Node::of(&redis)
            .auth("jwt")
            .set("SESSION__PRESENCE_CHANNELS", "room:*")
            .set("DRAIN__NOTICE", "4s")
            .short_lease()
            .start()
            .await;
        let answer = node.api().get("/v1/openapi.json").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
        let mut contract = Contract::new(answer.json());
        contract.check(("get", "/v1/openapi.json"), &answer);
        let (user, admin) = (Token::of("7").subscribe(GRANTS).publish(GRANTS), Token::of("ops").admin());
        let (user, admin) = (node.api().with_token(&user.sign()), node.api().with_token(&admin.sign()));
        Self { anonymous: node.api(), user, admin, redis, node, contract }
    }

    /// Makes a call whose answer must have this status, and be as described.
    async fn call(
        &mut self,
        who: &Api,
        (method, template, path): (&str, &str, &str),
        (headers, body): (&[(&str, &str)], &str),
        status: u16,
    ) -> Answer {
        let answer = who.call(&method.to_uppercase(), path, headers, body).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        self.contract.check((method, template), &answer);
        if status < 300 && !body.is_empty() {
            self.contract.check_request((method, template), &serde_json::from_str(body).unwrap());
        }
        answer
    }

    async fn get(&mut self, who: &Api, template: &str, path: &str, status: u16) -> Answer {
        self.call(who, ("get", template, path), (&[], ""), status).await
    }

    async fn post(&mut self, who: &Api, template: &str, path: &str, body: &Value, status: u16) -> Answer {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.call(who, ("post", template, path), (&[JSON], &text), status).await
    }

    async fn delete(&mut self, who: &Api, template: &str, path: &str, status: u16) -> Answer {
        self.call(who, ("delete", template, path), (&[], ""), status).await
    }

    /// Polls for events, which must be as described. Returns them.
    async fn poll(&mut self, query: &str) -> Vec<Value> {
        let path = format!("/v1/events?session={OTHER}&channel=room:1&{query}");
        let user = self.user.clone();
        let answer = self.get(&user, "/v1/events", &path, 200).await;
        self.contract.events(&answer.text)
    }

    /// Opens a stream until it ends. Returns when the user has so many sessions.
    async fn open(&self, session: &str, sessions: f64) -> tokio::task::JoinHandle<Answer> {
        let (user, path) = (self.user.clone(), format!("/v1/events?session={session}&channel=room:1"));
        let stream = tokio::spawn(async move { user.get(&path).await });
        becomes("the stream is open", sessions, async || self.node.streams().await).await;
        stream
    }

    /// Returns the type of the last event of a stream, which has ended. All are as described.
    async fn ended(&mut self, stream: tokio::task::JoinHandle<Answer>) -> String {
        let answer = stream.await.unwrap();
        self.contract.check(("get", "/v1/events"), &answer);
        let events = self.contract.events(&answer.text);
        assert_eq!(events[0]["event"], "connected");
        events.last().unwrap()["event"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn every_operation_of_a_node_answers_as_its_description_says() {
    let mut stage = Stage::new().await;
    channels(&mut stage).await;
    sessions(&mut stage).await;
    operations(&mut stage).await;
    finite_streams(&mut stage).await;
    refusals(&mut stage).await;
    streams(&mut stage).await;
    assert_eq!(stage.contract.uncalled(), Vec::<String>::new(), "operations without a successful call");
    assert_eq!(stage.contract.unseen_events(), Vec::<String>::new(), "events that no stream had");
}

/// Publishing, history, presence.
async fn channels(stage: &mut Stage) {
    let (user, admin) = (stage.user.clone(), stage.admin.clone());
    let publish = "/v1/publish";
    for body in [
        json!({ "channel": "room:1", "type": "said", "data": "x", "key": "k" }),
        json!({ "channel": "room:1", "data": { "a": [1, null] }, "ephemeral": true }),
        json!({ "channels": ["room:1", "room:2"], "data": 7 }),
        json!([{ "channel": "room:1", "data": "x" }, { "channel": "room:1", "data": "x", "type": "error" }, { "channels": ["room:1"], "data": "" }]),
    ] {
        stage.post(&user, publish, publish, &body, 200).await;
    }
    for (body, status) in [
        (json!({ "channel": "a b", "data": 1 }), 400),
        (json!({ "channel": "room:1", "data": 1, "type": "error" }), 400),
        (json!({ "chanel": "room:1", "data": 1 }), 400),
        (json!({ "channel": "doc:1", "data": 1 }), 403),
        (json!({ "channel": "room:1", "data": "x".repeat(70_000) }), 413),
    ] {
        stage.post(&user, publish, publish, &body, status).await;
        let is_valid = stage.contract.request_is_valid(("post", publish), &body);
        assert_eq!(is_valid, body.get("channel").is_some(), "{body}");
    }
    stage.call(&user, ("post", publish, publish), (&[], "{}"), 415).await;
    let history = "/v1/channels/{channel}/events";
    for path in ["/v1/channels/room:1/events", "/v1/channels/room:1/events?limit=1&after=earliest"] {
        stage.get(&user, history, path, 200).await;
        stage.get(&admin, history, path, 200).await;
    }
    stage.get(&user, history, "/v1/channels/room:1/events?after=x", 400).await;
    stage.get(&user, history, "/v1/channels/a%20b/events", 400).await;
    let presence = "/v1/channels/{channel}/presence";
    stage.get(&user, presence, "/v1/channels/room:1/presence", 200).await;
    stage.get(&admin, presence, "/v1/channels/room:1/presence?users=5", 200).await;
    stage.get(&admin, presence, "/v1/channels/doc:1/presence", 404).await;
}

/// Sessions, acknowledgements, tickets.
async fn sessions(stage: &mut Stage) {
    let user = stage.user.clone();
    let stream = stage.open(SESSION, 1.0).await;
    stage.get(&user, "/v1/users/{user}/sessions", "/v1/users/7/sessions", 200).await;
    let token = format!("/v1/sessions/{SESSION}/token");
    stage.post(&user, "/v1/sessions/{session}/token", &token, &Value::Null, 200).await;
    let (one, path) = ("/v1/users/{user}/sessions/{session}", format!("/v1/users/7/sessions/{SESSION}"));
    stage.delete(&user, one, &path, 200).await;
    assert_eq!(stage.ended(stream).await, "disconnected");
    eventually("the session is gone", async || stage.user.delete(&path).await.status == 404).await;
    stage.delete(&user, one, &path, 404).await;
    stage.delete(&user, "/v1/users/{user}/sessions", "/v1/users/7/sessions", 200).await;
    stage.post(&user, "/v1/sessions/{session}/token", &token, &Value::Null, 404).await;

    let cursor = stage.poll("wait=0&after=earliest").await.last().unwrap()["id"].clone();
    stage.post(&user, "/v1/ack", "/v1/ack", &json!({ "device": "inbox", "cursor": cursor }), 200).await;
    let event = json!([{ "session": OTHER, "channel": "room:1", "id": "5-1" }]);
    stage.post(&user, "/v1/ack", "/v1/ack", &event, 200).await;
    stage.post(&user, "/v1/ack", "/v1/ack", &json!({ "device": "inbox" }), 400).await;
    for path in ["/v1/ack?device=inbox", "/v1/ack?device=other"] {
        stage.get(&user, "/v1/ack", path, 200).await;
    }
    stage.get(&user, "/v1/ack", "/v1/ack", 400).await;
    stage.post(&user, "/v1/tickets", "/v1/tickets", &json!({ "subscribe": ["room:1"] }), 200).await;
    stage.post(&user, "/v1/tickets", "/v1/tickets", &Value::Null, 200).await;
    stage.post(&user, "/v1/tickets", "/v1/tickets", &json!({ "subscribe": ["doc:1"] }), 403).await;
}

/// Nodes, dead letters, probes.
async fn operations(stage: &mut Stage) {
    let (anonymous, admin) = (stage.anonymous.clone(), stage.admin.clone());
    stage.get(&admin, "/v1/nodes", "/v1/nodes", 200).await;
    stage.get(&admin, "/v1/streams", "/v1/streams", 200).await;
    let settings = "/v1/channels/{channel}/settings";
    stage.get(&admin, settings, "/v1/channels/room:1/settings", 200).await;
    for path in ["/v1/problems", "/healthz", "/readyz", "/metrics"] {
        stage.get(&anonymous, path, path, 200).await;
    }
    let open = [("accept", "application/openmetrics-text")];
    stage.call(&anonymous, ("get", "/metrics", "/metrics"), (&open, ""), 200).await;
    stage.get(&anonymous, "/ready", "/ready", 204).await;
    for count in 1..=2_usize {
        stage.redis.get::<String>(&["XADD", "fanfare:ingest", "*", "channel", "a b", "data", "x"]).await;
        becomes("the entry is dead", count, async || stage.redis.get(&["XLEN", "fanfare:ingest:dead"]).await)
            .await;
    }
    let page = stage.get(&admin, "/v1/dead-letters", "/v1/dead-letters?limit=5", 200).await.json();
    let id = |index: usize| page["dead_letters"][index]["id"].as_str().unwrap().to_owned();
    let (entry, requeue) = ("/v1/dead-letters/{id}", "/v1/dead-letters/{id}/requeue");
    stage.get(&admin, entry, &format!("/v1/dead-letters/{}", id(0)), 200).await;
    stage.delete(&admin, entry, &format!("/v1/dead-letters/{}", id(0)), 200).await;
    stage.post(&admin, requeue, &format!("/v1/dead-letters/{}/requeue", id(1)), &Value::Null, 200).await;
    stage.post(&admin, requeue, &format!("/v1/dead-letters/{}/requeue", id(1)), &Value::Null, 404).await;
    stage.get(&admin, entry, "/v1/dead-letters/x", 400).await;
}

/// Finite streams.
async fn finite_streams(stage: &mut Stage) {
    const CHAT: &str = "/v1/stream/chat-1";
    const TEXT: (&str, &str) = ("content-type", "text/plain");
    const LAST: [(&str, &str); 5] = [
        TEXT,
        ("producer-id", "p"),
        ("producer-epoch", "0"),
        ("producer-seq", "0"),
        ("stream-closed", "true"),
    ];
    let steps: [Step; 13] = [
        ("put", CHAT, &[TEXT], "one", 201),
        ("put", CHAT, &[TEXT], "one", 200),
        ("put", CHAT, &[JSON], "", 409),
        ("post", CHAT, &[TEXT], " two", 204),
        ("post", CHAT, &[TEXT], "", 400),
        ("get", CHAT, &[], "", 200),
        ("post", CHAT, &LAST, " three", 200),
        ("post", CHAT, &[TEXT], "four", 409),
        ("get", "/v1/stream/chat-1?offset=1", &[], "", 400),
        ("head", CHAT, &[], "", 200),
        ("get", "/v1/stream/__ds/x", &[], "", 404),
        ("delete", CHAT, &[], "", 204),
        ("get", CHAT, &[], "", 404),
    ];
    let user = stage.user.clone();
    for (method, path, headers, body, status) in steps {
        let answer = user.call(&method.to_uppercase(), path, headers, body).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        stage.contract.check((method, "/v1/stream/{name}"), &answer);
    }
}

/// What every operation refuses, and the methods that no path has.
async fn refusals(stage: &mut Stage) {
    let (anonymous, user) = (stage.anonymous.clone(), stage.user.clone());
    for (method, template, needs_token) in stage.contract.operations() {
        let path = contract::example(&template);
        let upper = method.to_uppercase();
        let refused = anonymous.call(&upper, &path, &[("if-match", "\"x\"")], "").await.unwrap();
        stage.contract.check((&method, &template), &refused);
        assert_eq!(refused.status, if needs_token { 401 } else { 412 }, "{upper} {path}");
        if !needs_token {
            continue;
        }
        let bad = anonymous.clone().with_token("x");
        for answer in [
            bad.call(&upper, &path, &[], "").await.unwrap(),
            user.call(
                &upper,
                &format!("{path}{}token=x&token=y", if path.contains('?') { '&' } else { '?' }),
                &[],
                "",
            )
            .await
            .unwrap(),
            user.call(&upper, &path, &[JSON], "{").await.unwrap(),
            user.call(&upper, &path, &[("expect", "the unexpected")], "").await.unwrap(),
        ] {
            // The body is invalid where a call has one, and ignored elsewhere.
            stage.contract.check((&method, &template), &answer);
        }
    }
    for path in stage.contract.paths() {
        for method in ["get", "post", "delete", "put", "patch"] {
            let answer =
                stage.user.call(&method.to_uppercase(), &contract::example(&path), &[], "").await.unwrap();
            let is_described = stage.contract.describes(method, &path);
            assert_eq!(answer.status != 405, is_described, "{method} {path}: {}", answer.status);
        }
    }
}

/// Each event of a stream, as published and in an envelope.
async fn streams(stage: &mut Stage) {
    let (user, admin) = (stage.user.clone(), stage.admin.clone());
    let except = json!({ "channel": "room:1", "data": "x", "except": format!("7/{OTHER}") });
    stage.post(&user, "/v1/publish", "/v1/publish", &except, 200).await;
    let raw = stage.poll("wait=0&after=earliest").await;
    assert!(raw.iter().any(|event| event["event"] == "excepted"), "{raw:?}");
    stage.poll("wait=0&after=earliest&format=json").await;
    let first = stage.open(SESSION, 1.0).await;
    let second = stage.open(SESSION, 1.0).await;
    assert_eq!(stage.ended(first).await, "superseded");
    stage.redis.get::<()>(&["DEL", "fanfare:{room:1}:log"]).await;
    let cursor = raw[0]["id"].as_str().unwrap();
    let gap = stage.poll(&format!("wait=0&after={cursor}")).await;
    assert!(gap.iter().any(|event| event["event"] == "gap"), "{gap:?}");
    for query in ["after=x", "format=xml", "channel=a%20b", "last=0"] {
        stage.get(&user, "/v1/events", &format!("/v1/events?{query}"), 400).await;
    }
    stage.get(&user, "/v1/events", "/v1/events?channel=doc:1", 403).await;
    stage.get(&stage.anonymous.clone(), "/v1/events", "/v1/events?ticket=fft_x", 401).await;
    stage.post(&admin, "/v1/revocations", "/v1/revocations", &json!({ "user": "7" }), 200).await;
    assert_eq!(stage.ended(second).await, "expired");
    stage.post(&admin, "/v1/revocations", "/v1/revocations", &json!({ "user": "7", "jti": "x" }), 400).await;

    // The clock of `iat` is in seconds.
    let late = Token::of("8").subscribe(GRANTS).publish(GRANTS).sign();
    stage.user = stage.node.api().with_token(&late);
    let user = stage.user.clone();
    let stream = stage.open(SESSION, 1.0).await;
    stage.node.terminate();
    stage.node.readyz(503).await;
    let anonymous = stage.anonymous.clone();
    stage.get(&anonymous, "/readyz", "/readyz", 503).await;
    stage.get(&anonymous, "/ready", "/ready", 503).await;
    let refused = stage.get(&user, "/v1/events", "/v1/events", 200).await;
    assert_eq!(stage.contract.events(&refused.text)[0]["event"], "overloaded");
    stage.call(&user, ("get", "/v1/events", "/v1/events"), (&[("prefer", "status")], ""), 503).await;
    assert_eq!(stage.ended(stream).await, "shutdown");
    stage.node.ended(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn with_an_admin_listener_both_serve_the_description_and_each_its_own_calls() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").admin().start().await;
    let token = Token::of("ops").admin().sign();
    let (public, admin) = (node.api().with_token(&token), node.admin_api().with_token(&token));
    let document = public.get("/v1/openapi.json").await;
    assert_eq!(admin.get("/v1/openapi.json").await.text, document.text);
    let mut contract = Contract::new(document.json());
    for path in ["/v1/nodes", "/v1/dead-letters", "/readyz", "/metrics"] {
        assert_eq!((admin.get(path).await.status, public.get(path).await.status), (200, 404), "{path}");
        contract.check(("get", path), &admin.get(path).await);
        contract.check(("get", path), &public.get(path).await);
    }
}
