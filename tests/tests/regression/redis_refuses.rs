//! A Redis that answers and refuses was said to be away, to clients, in the log and by `/readyz`.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::node::{Node, NodeBuilder};
use fanfare_testkit::redis::Redis;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

/// Refuses every connection with these bytes, as Redis does: before any command, which resets the connection.
async fn refusing(refusal: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.write_all(refusal).await;
        }
    });
    address
}

/// Answers every connection with these bytes, and closes it.
async fn answering(answer: &[u8]) -> SocketAddr {
    let answer = answer.to_vec();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(&answer).await;
                let _ = socket.shutdown().await;
                let _ = socket.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    address
}

/// Passes connections to Redis, with other words in its replies to `HELLO`.
async fn claiming(redis: &Redis, what: &'static [u8], with: &'static [u8]) -> SocketAddr {
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), redis.address());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (mut from_node, mut to_node) = socket.into_split();
            let (mut from_redis, mut to_redis) = TcpStream::connect(to).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_node, &mut to_redis).await });
            tokio::spawn(async move {
                let mut reply = vec![0; 1 << 16];
                while let Ok(length @ 1..) = from_redis.read(&mut reply).await {
                    let mut reply = reply[..length].to_vec();
                    if let Some(at) = reply.windows(what.len()).position(|part| part == what) {
                        reply.splice(at..at + what.len(), with.iter().copied());
                    }
                    to_node.write_all(&reply).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}

/// Each of them was said not to answer, or to refuse a command that it does not know.
#[tokio::test]
async fn a_server_that_is_no_redis_for_a_node_is_named() {
    let redis = Redis::start().await;
    let version = redis.get::<String>(&["INFO", "server"]).await;
    assert!(version.contains("redis_version:7."), "the proxy below replaces a 7: {version}");
    // For each of the commands that a node sends first.
    let no_hello = b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n".repeat(4);
    let too_old = "this Redis is older than version 7";
    let not_redis = "the server at redis.url does not speak the protocol of Redis";
    for (scheme, server, words) in [
        (
            "redis",
            claiming(&redis, b"$10\r\nstandalone", b"$8\r\nsentinel").await,
            "redis.url names a Redis Sentinel",
        ),
        ("redis", claiming(&redis, b"version\r\n$6\r\n7.", b"version\r\n$6\r\n6.").await, too_old),
        ("redis", answering(&no_hello).await, too_old),
        (
            "redis",
            refusing(b"-DENIED Redis is running in protected mode because\r\n").await,
            "Redis is in protected mode",
        ),
        ("redis", answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, not_redis),
        // A TLS alert.
        ("redis", answering(&[21, 3, 3, 0, 2, 2, 10]).await, not_redis),
        (
            "rediss",
            answering(b"-ERR Protocol error: invalid multibulk length\r\n").await,
            "the TLS handshake with Redis failed",
        ),
    ] {
        let node = Node::of(&redis).through(&format!("{scheme}://{server}")).launch().await;
        why(&node, words).await;
        let answer = node.api().post(&json!({"channel": "a", "data": "x"})).await.unwrap();
        answer.is_problem(503, "unavailable", &[words, "an operator must fix"]).unwrap();
        assert_eq!(answer.header("retry-after"), "", "{words}");
        let logged = async || if node.log().contains(words) { Ok(()) } else { Err(node.log()) };
        until(&format!("the log says {words:?}"), SOON, logged).await;
    }
}

/// Redis says so before any command, and resets the connection: the node saw the reset only.
#[tokio::test]
async fn a_redis_without_room_for_another_client_is_named() {
    let redis = Redis::start().await;
    // The one client that it accepts.
    let mut admin = redis.connection().await.unwrap();
    let mut accept = async |clients: u32| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxclients").arg(clients).query_async::<()>(&mut admin).await.unwrap();
    };
    accept(1).await;
    let node = Node::of(&redis).launch().await;
    let words = "Redis has reached its maximum number of clients";
    why(&node, words).await;
    let answer = node.api().post(&json!({"channel": "a", "data": "x"})).await.unwrap();
    answer.is_problem(503, "unavailable", &[words]).unwrap();
    assert!(node.log().contains(words), "{}", node.log());
    accept(1000).await;
    node.ready().await;
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
