//! A Redis that answers and refuses was said to be away, to clients, in the log and by `/readyz`.

use std::time::Duration;

use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::redis::Redis;
use serde_json::json;

/// A condition: what brings it about, what ends it, and what is said of it.
type Condition = (&'static [&'static str], &'static [&'static str], &'static str);

const CONDITIONS: [Condition; 3] = [
    (
        &["CONFIG", "SET", "min-replicas-to-write", "1"],
        &["CONFIG", "SET", "min-replicas-to-write", "0"],
        "Redis has too few connected replicas",
    ),
    (&["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"], "Redis is out of memory"),
    (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], "Redis is a read-only replica"),
];

#[tokio::test]
async fn each_condition_in_which_redis_refuses_has_its_own_words_everywhere() {
    let redis = Redis::start().await;
    for (begin, end, words) in CONDITIONS {
        let node = Node::of(&redis).short_lease().start().await;
        redis.get::<String>(begin).await;
        let answer = node.api().post(&json!({"channel": "a", "data": "x"})).await.unwrap();
        answer.is_problem(503, "unavailable", &[words, "not carried out"]).unwrap();
        assert!(!answer.header("retry-after").is_empty(), "{words}");
        // Redis's own text, with its settings' names, is not for clients.
        assert!(!answer.text.contains("(Redis: "), "{}", answer.text);
        stream_is_refused(&node, words).await;
        why(&node, words).await;
        let logged = async || if node.log().contains(words) { Ok(()) } else { Err(node.log()) };
        until(&format!("the log says {words:?}"), SOON, logged).await;
        redis.get::<String>(end).await;
        node.ready().await;
        node.api().publish("a", "note", "again").await;
    }
}

#[tokio::test]
async fn a_password_that_redis_does_not_accept_is_named() {
    let redis = Redis::start().await;
    redis.get::<String>(&["CONFIG", "SET", "requirepass", "right"]).await;
    for user in ["", ":wrong@"] {
        let url = redis.url().replace("redis://", &format!("redis://{user}"));
        let node = Node::of(&redis).through(&url).launch().await;
        why(&node, "rejects the user or password").await;
        let answer = node.api().post(&json!({"channel": "a", "data": "x"})).await.unwrap();
        answer.is_problem(503, "unavailable", &["an operator must fix"]).unwrap();
        assert_eq!(answer.header("retry-after"), "");
        assert!(!node.log().contains("wrong"), "the password is not logged");
    }
}

#[tokio::test]
async fn a_redis_cluster_is_noticed_when_the_node_starts() {
    let redis = Redis::with_arguments(&["--cluster-enabled", "yes"]).await;
    let node = Node::of(&redis).launch().await;
    let words = "this Redis is a Redis Cluster, which Fanfare does not support yet";
    why(&node, words).await;
    let logged = async || if node.log().contains(words) { Ok(()) } else { Err(node.log()) };
    until("the log says so", SOON, logged).await;
    assert!(!node.log().contains("CROSSSLOT"));
}

/// Waits until a refused stream has these words, and not what Redis said.
async fn stream_is_refused(node: &Node, words: &str) {
    until(&format!("a refused stream says {words:?}"), SOON, async || {
        let answer = node.api().call("GET", "/v1/events?user=1", &[("prefer", "status")], "").await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        assert!(!answer.text.contains("(Redis: "), "{}", answer.text);
        answer.is_problem(503, "unavailable", &[words, "No stream was opened"])
    })
    .await;
}

#[tokio::test]
async fn topics_that_the_redis_user_may_not_use_are_said_to_be_so() {
    let redis = Redis::start().await;
    redis.get::<String>(&["ACL", "SETUSER", "default", "resetchannels"]).await;
    let node = Node::of(&redis).short_lease().launch().await;
    why(&node, "the subscriber connection to Redis is down: the Redis user of redis.url lacks permissions")
        .await;
    redis.get::<String>(&["ACL", "SETUSER", "default", "allchannels"]).await;
    node.ready().await;
}

#[tokio::test]
async fn sessions_that_the_redis_user_may_not_write_are_said_to_be_so() {
    let redis = Redis::start().await;
    let user = [
        "node",
        "on",
        ">password",
        "resetkeys",
        "~fanfare:[^{]*",
        "~fanfare:{user:1}:l*",
        "allchannels",
        "+@all",
    ];
    redis.get::<String>(&[&["ACL", "SETUSER"], &user[..]].concat()).await;
    let url = redis.url().replace("redis://", "redis://node:password@");
    let node = Node::of(&redis).through(&url).start().await;
    let words = "the Redis user of redis.url lacks permissions";
    stream_is_refused(&node, words).await;
    assert!(node.log().contains(words), "{}", node.log());
}

/// Waits until `/readyz` has these words.
async fn why(node: &Node, words: &str) {
    until(&format!("/readyz says {words:?}"), SOON, async || {
        let answer = node.api().call("GET", "/readyz", &[], "").await.map_err(|e| format!("{e:?}"))?;
        if answer.status == 503 && answer.text.contains(words) { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_busy_with_a_script_is_not_away() {
    let redis = Redis::start().await;
    redis.get::<String>(&["CONFIG", "SET", "busy-reply-threshold", "100"]).await;
    let patient = |node: NodeBuilder| node.set("REDIS__TIMEOUT", "5s").set("LEASE__TTL", "60s");
    let node = patient(Node::of(&redis)).start().await;
    let mut connection = redis.connection().await.unwrap();
    let script = tokio::spawn(async move {
        let endless = ["EVAL", "while true do end", "0"];
        redis::cmd(endless[0]).arg(&endless[1..]).query_async::<()>(&mut connection).await
    });
    until("Redis says BUSY", SOON, async || {
        let answer =
            node.api().post(&json!({"channel": "a", "data": "x"})).await.map_err(|e| format!("{e:?}"))?;
        answer.is_problem(503, "unavailable", &["Redis is busy running a script"])
    })
    .await;
    redis.get::<String>(&["SCRIPT", "KILL"]).await;
    assert!(tokio::time::timeout(Duration::from_secs(10), script).await.unwrap().unwrap().is_err());
}
