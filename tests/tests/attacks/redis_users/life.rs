//! The whole life of nodes: whatever makes them ask Redis for something, with two of them on one Redis.

use std::time::Duration;

use fanfare_testkit::api::Api;
use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, eventually, until};
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::{Value, json};

const ROOM: &str = "room:7";

/// A node with limits that a short life reaches.
pub(super) fn node(through: &str, node: NodeBuilder) -> NodeBuilder {
    let node = node.through(through).auth("jwt").short_lease().set("SESSION__GRACE", "1s");
    node.set("SESSION__LIFECYCLE_PER_MINUTE", "6")
        .set("SESSION__PRESENCE_CHANNELS", "room:*")
        .set("LIMITS__SESSIONS_PER_USER", "3")
        .set("ACK__RECEIPTS", "10")
}

fn token(user: &str) -> Token {
    let past =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
            - 10;
    Token::of(user).claim("jti", user).claim("iat", past).subscribe(&["*"])
}

async fn stream(node: &Node, user: &str) -> Client {
    node.stream().token(&token(user).sign()).channel(ROOM).open().await
}

fn admin(node: &Node) -> Api {
    node.api().with_token(&Token::of("root").admin().sign())
}

async fn call(node: &Node, method: &str, path: &str, body: &Value) {
    let headers = [("content-type", "application/json")];
    let answer = admin(node).call(method, path, &headers, body.to_string()).await.expect("an answer");
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
}

/// Waits until an entry of the user's lifecycle is this one.
async fn tells(redis: &Redis, user: &str, wanted: &str) {
    until(&format!("lifecycle tells {wanted} of {user}"), SOON, async || {
        let events = lifecycle::of_user(redis, user).await;
        if events.iter().any(|event| event == wanted) { Ok(()) } else { Err(events.join(", ")) }
    })
    .await;
}

/// Publishes in every way, to a channel that is new.
pub(super) async fn publishes(cluster: &Cluster) {
    let mut stream = stream(cluster.a(), "42").await;
    let api = admin(cluster.b());
    api.publish(ROOM, "t", "over HTTP").await;
    stream.expect_data("over HTTP").await;
    for (member, value, data) in [("key", json!("k"), "with a key"), ("ephemeral", json!(true), "typing")] {
        let event = json!({"channel": ROOM, "type": "t", "data": data, member: value});
        call(cluster.b(), "POST", "/v1/publish", &event).await;
        stream.expect_data(data).await;
    }
    call(cluster.b(), "POST", "/v1/publish", &json!({"channel": ROOM, "data": "again", "key": "k"})).await;
    let mut publisher = Publisher::on(&cluster.redis).await;
    publisher.call(ROOM, "t", "by the function", Some("f")).await.expect("the function is loaded");
    stream.expect_data("by the function").await;
    stream.close();
    tells(&cluster.redis, "42", "user.offline").await;
}

/// Publishes through the intake: what can be published, what cannot, and the greatest id, after which it begins again.
pub(super) async fn takes_in(cluster: &Cluster) {
    const LAST: &str = "18446744073709551615-18446744073709551615";
    let mut stream = stream(cluster.a(), "43").await;
    for (id, data) in [("*", "by the intake"), (LAST, "with the last id")] {
        let entry = ["XADD", "fanfare:ingest", id, "channel", ROOM, "type", "t", "data", data, "key", data];
        cluster.redis.get::<String>(&entry).await;
        stream.expect_data(data).await;
    }
    eventually("the intake accepts entries again", async || {
        let wrong = ["XADD", "fanfare:ingest", "*", "channel", "not a name", "data", ""];
        cluster.redis.ask::<String>(&wrong).await.is_ok()
    })
    .await;
    eventually("what cannot be published is in the dead-letter stream", async || {
        cluster.redis.get::<usize>(&["XLEN", "fanfare:ingest:dead"]).await == 1
    })
    .await;
}

/// Lists, shows, requeues and drops the entry that cannot be published.
pub(super) async fn clears_dead_letters(cluster: &Cluster) {
    const ALL: &str = "/v1/dead-letters";
    let ids = async || -> Vec<String> {
        let letters = admin(cluster.a()).get(ALL).await.json()["dead_letters"].clone();
        let id = |letter: &Value| letter["id"].as_str().expect("an id").to_owned();
        letters.as_array().expect("a list").iter().map(id).collect()
    };
    let before = ids().await;
    call(cluster.b(), "GET", &format!("{ALL}/{}", before[0]), &json!(null)).await;
    call(cluster.b(), "POST", &format!("{ALL}/{}/requeue", before[0]), &json!(null)).await;
    eventually("it is dead again", async || ids().await.iter().any(|id| *id != before[0])).await;
    call(cluster.b(), "DELETE", &format!("{ALL}/{}", ids().await[0]), &json!(null)).await;
}

/// Reads logs from every kind of place.
pub(super) async fn reads(cluster: &Cluster) {
    let places = [("after", "earliest"), ("after", "latest"), ("after", "1700000000000"), ("last", "2")];
    for (number, (name, value)) in places.into_iter().enumerate() {
        let user = token(&format!("reader-{number}")).sign();
        let request = cluster.a().stream().token(&user).channel(ROOM).parameter(name, value);
        let mut reader = request.open().await;
        admin(cluster.b()).publish(ROOM, "t", value).await;
        reader.find(|event| *event.data == *value).await;
        reader.close();
        admin(cluster.b()).publish(ROOM, "t", "meanwhile").await;
        reader.resume(cluster.b()).await;
        reader.find(|event| &*event.data == "meanwhile").await;
    }
    for query in ["", "?limit=2", "?after=earliest"] {
        call(cluster.a(), "GET", &format!("/v1/channels/{ROOM}/events{query}"), &json!(null)).await;
    }
}

/// Opens, moves, lists and ends sessions, up to their limits.
pub(super) async fn holds_sessions(cluster: &Cluster) {
    let mut first = stream(cluster.a(), "44").await;
    let session = first.session().to_owned();
    let moved = cluster.b().stream().token(&token("44").sign()).session(&session);
    let mut moved = moved.open().await;
    first.find(|event| event.kind == "superseded").await;
    let _more = [stream(cluster.a(), "44").await, stream(cluster.b(), "44").await];
    let refused = cluster.a().stream().token(&token("44").sign()).header("Prefer", "status").send().await;
    assert_eq!(refused.status(), 429, "a fourth stream");
    let presence = format!("/v1/channels/{ROOM}/presence?users=10");
    for path in ["/v1/users/44/sessions", "/v1/nodes", "/v1/streams", &presence] {
        call(cluster.a(), "GET", path, &json!(null)).await;
    }
    call(cluster.a(), "DELETE", &format!("/v1/users/44/sessions/{session}"), &json!(null)).await;
    moved.find(|event| event.kind == "disconnected").await;
    call(cluster.b(), "DELETE", "/v1/users/44/sessions", &json!(null)).await;
    tells(&cluster.redis, "44", "user.offline").await;
}

/// Ends a user's streams until lifecycle events are merged, and waits for the check of them.
pub(super) async fn merges_lifecycle(cluster: &Cluster) {
    for _ in 0..6 {
        let mut stream = stream(cluster.a(), "45").await;
        stream.close();
        eventually("the session is over", async || {
            cluster.redis.get::<usize>(&["HLEN", "fanfare:{user:45}:sessions"]).await == 0
        })
        .await;
    }
    let kind = cluster.redis.get::<String>(&["TYPE", "fanfare:{user:45}:told"]).await;
    assert_eq!(kind, "hash", "what lifecycle has not told yet");
    eventually("it is told", async || {
        cluster.redis.get::<String>(&["TYPE", "fanfare:{user:45}:told"]).await != "hash"
    })
    .await;
}

/// Revokes and replaces tokens.
pub(super) async fn revokes(cluster: &Cluster) {
    let mut stream = stream(cluster.a(), "46").await;
    let second = token("46").claim("jti", "second").sign();
    let path = format!("/v1/sessions/{}/token", stream.session());
    let answer = cluster.b().api().with_token(&second).call("POST", &path, &[], "").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    call(cluster.b(), "POST", "/v1/revocations", &json!({"jti": "second"})).await;
    assert_eq!(stream.find(|event| event.kind == "expired").await.json()["reason"], "revoked");
    call(cluster.b(), "DELETE", "/v1/users/46/sessions?revoke=true", &json!(null)).await;
    eventually("the user's tokens are refused", async || {
        let api = cluster.a().api().with_token(&token("46").sign());
        api.get("/v1/users/46/sessions").await.is_problem(401, "revoked-token", &[]).is_ok()
    })
    .await;
}

/// Acknowledges an event, and starts a stream after it.
pub(super) async fn acknowledges(cluster: &Cluster) {
    let id = admin(cluster.a()).publish(ROOM, "t", "acknowledged").await.to_string();
    admin(cluster.a()).publish(ROOM, "t", "not yet").await;
    let user = token("51").sign();
    let body = json!({"device": "phone", "channel": ROOM, "id": id}).to_string();
    let headers = [("content-type", "application/json")];
    let api = cluster.a().api().with_token(&user);
    let answer = api.call("POST", "/v1/ack", &headers, body).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let request = cluster.b().stream().token(&user).channel(ROOM).after("acked");
    request.parameter("device", "phone").open().await.expect_data("not yet").await;
}

/// Opens a stream with a ticket, and resumes it.
pub(super) async fn uses_tickets(cluster: &Cluster) {
    let api = cluster.a().api().with_token(&token("50").sign());
    let answer = api.call("POST", "/v1/tickets", &[], "").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let ticket = answer.json()["ticket"].as_str().expect("a ticket").to_owned();
    let mut stream = cluster.a().stream().parameter("ticket", &ticket).open().await;
    stream.resume(cluster.b()).await;
    stream.close();
}

/// Creates, appends to, reads, forks and deletes finite streams, with and without a time at which they end.
pub(super) async fn keeps_finite_streams(cluster: &Cluster) {
    let send = async |node: &Node, method: &str, name: &str, headers: &[(&str, &str)], body: &'static str| {
        let headers = [&[("content-type", "text/plain")], headers].concat();
        let answer = admin(node).call(method, &format!("/v1/stream/{name}"), &headers, body).await;
        let answer = answer.expect("an answer");
        assert!((200..300).contains(&answer.status), "{method} {name}: {}", answer.text);
        answer.text
    };
    let producer = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    send(cluster.a(), "PUT", "one", &[("stream-ttl", "60")], "first ").await;
    send(cluster.a(), "PUT", "two", &[("stream-expires-at", "2999-01-01T00:00:00Z")], "").await;
    let waiting = send(cluster.b(), "GET", "two?offset=-1&live=long-poll", &[], "");
    let appending = async {
        eventually("a reader waits", async || {
            cluster.b().metrics().await.sum("fanfare_finite_readers", &[]) > 0.0
        })
        .await;
        send(cluster.a(), "POST", "two", &producer, "bytes").await;
    };
    assert_eq!(tokio::join!(waiting, appending).0, "bytes");
    send(cluster.b(), "POST", "one", &[("stream-closed", "true")], "last").await;
    send(cluster.b(), "PUT", "fork", &[("stream-forked-from", "/v1/stream/one")], "").await;
    assert_eq!(send(cluster.a(), "GET", "fork", &[], "").await, "first last");
    send(cluster.a(), "DELETE", "one", &[], "").await;
    send(cluster.b(), "DELETE", "fork", &[], "").await;
}

/// Kills a node that comes back at once with the same id, and once more for good.
pub(super) async fn dies(cluster: &mut Cluster, through: &str) {
    let _stream = stream(cluster.a(), "47").await;
    cluster.nodes[0].kill().await;
    cluster.nodes[0] = node(through, Node::of(&cluster.redis).id("a")).start().await;
    tells(&cluster.redis, "47", "session.disconnected node-lost").await;
    let _stream = stream(cluster.a(), "48").await;
    cluster.nodes[0].kill().await;
    tells(&cluster.redis, "48", "session.disconnected node-lost").await;
    eventually("the dead node is forgotten", async || {
        !cluster.redis.get::<Vec<String>>(&["SMEMBERS", "fanfare:nodes"]).await.contains(&"a".to_owned())
    })
    .await;
    cluster.nodes[0] = node(through, Node::of(&cluster.redis).id("a")).start().await;
}

/// Restarts Redis, which comes back empty; the node has to give back what it knows.
pub(super) async fn survives_redis(cluster: &mut Cluster) {
    let mut stream = stream(cluster.b(), "49").await;
    cluster.redis.kill_clients("normal").await;
    cluster.redis.kill_clients("pubsub").await;
    cluster.redis.stop().await;
    cluster.redis.start_again().await;
    eventually("revocations are back", async || {
        cluster.redis.get::<usize>(&["XLEN", "fanfare:revocations"]).await == 2
    })
    .await;
    eventually("the session is back", async || {
        cluster.redis.get::<usize>(&["HLEN", "fanfare:{user:49}:sessions"]).await == 1
    })
    .await;
    for node in &cluster.nodes {
        node.ready().await;
    }
    admin(cluster.a()).publish(ROOM, "t", "after the restart").await;
    stream.expect("gap").await;
    stream.expect_data("after the restart").await;
}

/// Drains one node, whose client goes to the other one, and then that one.
pub(super) async fn drains(cluster: &mut Cluster) {
    let mut stream = stream(cluster.b(), "50").await;
    cluster.b().terminate();
    stream.find(|event| event.kind == "shutdown").await;
    stream.resume(cluster.a()).await;
    tells(&cluster.redis, "50", "session.connected a").await;
    assert!(cluster.nodes[1].ended(Duration::from_secs(10)).await.success());
    cluster.a().terminate();
    assert!(cluster.nodes[0].ended(Duration::from_secs(10)).await.success());
}
