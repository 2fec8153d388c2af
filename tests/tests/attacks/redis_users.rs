//! The Redis users of `docs/operations.md`: each can do what it must, and is refused what it must not do. The `ACL` commands are
//! those of the page.
//!
//! # Layout
//!
//! - `node`: a node's whole life, and which of its rights that takes
//! - `life`: that life

mod life;
mod node;

use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::redis::Redis;
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisError, Value, cmd};

/// The user of clients without a password.
const DEFAULT: &str = "default";
const NODE: &str = "fanfare";
const INTAKE: &str = "a-publisher";
const ROOMS: &str = "a-room-publisher";
const PRODUCER: &str = "a-stream-producer";
const EPHEMERAL: &str = "an-ephemeral-publisher";

const LOG: &str = "fanfare:{room:7}:log";
const LAST: &str = "fanfare:{room:7}:last";
const LIVE: &str = "fanfare:{room:7}:live";
const STREAM: &str = "fanfare:{stream:chat-7}:meta";
const TYPING: &str = "fanfare:{room:7}:ephemeral";
const FORGED: &str = "1 99999999999999-0 99999999999998-0 n\nforged";

/// Returns the commands of the page that make users.
fn documented() -> Vec<Vec<&'static str>> {
    let page = include_str!("../../../docs/operations.md");
    let commands = page.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = commands.filter(|line| line.starts_with("ACL SETUSER "));
    commands.map(|line| line.split_whitespace().collect()).collect()
}

/// Returns the rules that the page's commands give a user.
fn rules(user: &str) -> Vec<&'static str> {
    documented()
        .iter()
        .filter(|command| command[2] == user)
        .flat_map(|command| &command[3..])
        .copied()
        .collect()
}

/// Starts Redis with the users of the page; the one without a password stays as it is, for the test. They outlive a restart.
async fn redis_with_users() -> Redis {
    let users =
        [NODE, INTAKE, ROOMS, PRODUCER, EPHEMERAL].map(|user| [vec!["--user", user], rules(user)].concat());
    Redis::with_arguments(&users.concat()).await
}

fn url(redis: &Redis, user: &str) -> String {
    redis.url().replace("redis://", &format!("redis://{user}:password@"))
}

/// A client of Redis as this user.
async fn client(redis: &Redis, user: &str) -> MultiplexedConnection {
    let client = Client::open(url(redis, user)).unwrap();
    client.get_multiplexed_async_connection().await.unwrap_or_else(|error| panic!("{user}: {error}"))
}

async fn call(client: &mut MultiplexedConnection, command: &[&str]) -> Result<Value, RedisError> {
    cmd(command[0]).arg(&command[1..]).query_async(client).await
}

async fn may(client: &mut MultiplexedConnection, command: &[&str]) {
    call(client, command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"));
}

/// Returns whether the user has no right to a command, whatever Redis would answer otherwise.
async fn is_denied(client: &mut MultiplexedConnection, command: &[&str]) -> bool {
    call(client, command).await.is_err_and(|error| error.code() == Some("NOPERM"))
}

/// Nothing was refused that Redis counts, in scripts either.
async fn nothing_was_denied(redis: &Redis) {
    let denied: Vec<Value> = redis.get(&["ACL", "LOG"]).await;
    assert!(denied.is_empty(), "{denied:#?}");
}

#[test]
fn the_page_has_these_users_and_the_threat_model_has_the_same_rules() {
    let mut users: Vec<&str> = documented().iter().map(|command| command[2]).collect();
    users.dedup();
    assert_eq!(users, [DEFAULT, NODE, INTAKE, ROOMS, PRODUCER, EPHEMERAL], "each has a test here");
    let page = include_str!("../../../docs/security.md");
    let table = page.split("On Redis the ACL decides:").nth(1).unwrap().split("\n\n").nth(1).unwrap();
    // After the head and the row of nodes, whose rules are too long for a row.
    let rows: Vec<&str> = table.lines().skip(3).map(|row| row.split('`').nth(1).unwrap()).collect();
    let of_users = [INTAKE, ROOMS, PRODUCER, EPHEMERAL].map(|user| rules(user)[2..].join(" "));
    assert_eq!(rows, of_users);
}

#[tokio::test]
async fn a_client_without_a_user_is_refused() {
    let redis = Redis::start().await;
    assert_eq!(redis.get::<String>(&["PING"]).await, "PONG");
    for command in documented() {
        // One connection for all: the first command is the last that another one can give.
        if command[2] == DEFAULT {
            redis.get::<()>(&command).await;
        }
    }
    let error = redis.ask::<Value>(&["GET", LAST]).await.unwrap_err();
    assert_eq!(error.code(), Some("NOAUTH"), "{error}");
}

/// Commands, and the publishers that may give them.
const COMMANDS: &[(&[&str], &[&str])] = &[
    (&[INTAKE], &["XADD", "fanfare:ingest", "*", "channel", "room:7", "data", "x"]),
    (&[ROOMS], &["FCALL", "fanfare_publish", "1", LOG, "t", "x"]),
    (&[PRODUCER], &["FCALL", "fanfare_append", "1", STREAM, "x"]),
    (&[EPHEMERAL], &["PUBLISH", TYPING, "{}"]),
    // What the function does for its caller, its caller can do without it.
    (&[ROOMS], &["PUBLISH", LIVE, FORGED]),
    (&[ROOMS], &["XADD", LOG, "*", "t", "t", "d", "x", "p", "0-0"]),
    (&[ROOMS], &["XREVRANGE", LOG, "+", "-"]),
    (&[ROOMS], &["GET", LAST]),
    (&[PRODUCER], &["HSET", STREAM, "end", "complete"]),
    (&[], &["FCALL", "fanfare_append", "1", "fanfare:{stream:other}:meta", "x"]),
    (&[], &["GETRANGE", "fanfare:{stream:chat-7}:data", "0", "1"]),
    (&[], &["DEL", STREAM]),
    (&[], &["DEL", LOG]),
    (&[], &["XDEL", LOG, "1-1"]),
    (&[], &["FCALL", "fanfare_publish", "1", "fanfare:{user:1}:log", "t", "x"]),
    (&[], &["FCALL", "fanfare_publish", "1", "fanfare:{broadcast}:log", "t", "x"]),
    (&[], &["PUBLISH", "fanfare:{user:1}:live", FORGED]),
    (&[], &["PUBLISH", "fanfare:node:a:control", "{}"]),
    (&[], &["PUBLISH", "fanfare:probe:x", "x"]),
    (&[], &["SUBSCRIBE", LIVE]),
    (&[], &["PSUBSCRIBE", "fanfare:*"]),
    (&[], &["XADD", "fanfare:{user:1}:log", "*", "t", "t", "d", "x", "p", "0-0"]),
    (&[], &["XADD", "fanfare:lifecycle", "*", "event", "user.offline", "user", "1"]),
    (&[], &["XRANGE", "fanfare:ingest", "-", "+"]),
    (&[], &["XREAD", "STREAMS", "fanfare:ingest", "0"]),
    (&[], &["XLEN", "fanfare:ingest"]),
    (&[], &["XDEL", "fanfare:ingest", "1-1"]),
    (&[], &["XTRIM", "fanfare:ingest", "MAXLEN", "0"]),
    (&[], &["XGROUP", "CREATE", "fanfare:ingest", "g", "0"]),
    (&[], &["DEL", "fanfare:ingest"]),
    (&[], &["XRANGE", "fanfare:lifecycle", "-", "+"]),
    (&[], &["XREVRANGE", "fanfare:{user:1}:log", "+", "-"]),
    (&[], &["GET", "fanfare:node:a"]),
    (&[], &["SET", "fanfare:node:a", "x"]),
    (&[], &["HGETALL", "fanfare:{user:1}:sessions"]),
    (&[], &["FUNCTION", "DELETE", "fanfare"]),
    (&[], &["EVAL", "return 1", "0"]),
    (&[], &["KEYS", "*"]),
    (&[], &["FLUSHALL"]),
    (&[], &["CONFIG", "GET", "*"]),
    (&[], &["ACL", "LIST"]),
    (&[PRODUCER], &["INFO"]),
    (&[], &["CLIENT", "LIST"]),
];

#[tokio::test]
async fn each_publisher_may_give_its_own_commands_only() {
    let redis = redis_with_users().await;
    for user in [INTAKE, ROOMS, PRODUCER, EPHEMERAL] {
        let mut publisher = client(&redis, user).await;
        for (users, command) in COMMANDS {
            let is_denied = is_denied(&mut publisher, command).await;
            assert_eq!(is_denied, !users.contains(&user), "{user}: {command:?}");
        }
    }
}

#[tokio::test]
async fn publishers_reach_clients_with_the_rights_they_have() {
    let redis = redis_with_users().await;
    let through = url(&redis, NODE);
    let cluster = Cluster::on(redis, 1, |node| node.through(&through)).await;
    let mut stream = cluster.a().stream().user("42").channel("room:7").open().await;

    let mut intake = client(&cluster.redis, INTAKE).await;
    let entry = ["channel", "room:7", "type", "t", "data", "by the intake", "key", "k"];
    may(&mut intake, &[&["XADD", "fanfare:ingest", "*"][..], &entry].concat()).await;
    stream.expect_data("by the intake").await;

    let mut rooms = client(&cluster.redis, ROOMS).await;
    may(&mut rooms, &["FCALL", "fanfare_publish", "1", LOG, "t", "by the function", "key"]).await;
    stream.expect_data("by the function").await;
    may(&mut rooms, &["FCALL", "fanfare_publish", "1", LOG, "t", "again", "key"]).await;
    may(&mut rooms, &["FCALL", "fanfare_publish", "1", "fanfare:{room:new}:log", "t", "x"]).await;

    let (api, plain) = (cluster.a().api(), [("content-type", "text/plain")]);
    let created = api.call("PUT", "/v1/stream/chat-7", &plain, "").await.unwrap();
    assert_eq!(created.status, 201, "{created:?}");
    let mut producer = client(&cluster.redis, PRODUCER).await;
    may(&mut producer, &["FCALL", "fanfare_append", "1", STREAM, "by ", "", "", "p", "0", "0"]).await;
    may(&mut producer, &["FCALL", "fanfare_append", "1", STREAM, "the function", "complete"]).await;
    assert_eq!(api.get("/v1/stream/chat-7").await.text, "by the function");

    let mut ephemeral = client(&cluster.redis, EPHEMERAL).await;
    may(&mut ephemeral, &["PUBLISH", TYPING, r#"{"type":"typing","data":"…"}"#]).await;
    stream.expect_data("…").await;
    // With what the function runs in Redis.
    nothing_was_denied(&cluster.redis).await;
}

/// The page says so: an ACL does not part the options of `XADD`.
#[tokio::test]
async fn a_publisher_through_the_intake_can_drop_what_waits_and_use_up_the_ids() {
    let redis = redis_with_users().await;
    let mut intake = client(&redis, INTAKE).await;
    for _ in 0..3 {
        may(&mut intake, &["XADD", "fanfare:ingest", "*", "channel", "room:7", "data", "x"]).await;
    }
    may(&mut intake, &["XADD", "fanfare:ingest", "MAXLEN", "1", "*", "channel", "room:7", "data", "x"]).await;
    assert_eq!(redis.get::<usize>(&["XLEN", "fanfare:ingest"]).await, 1);
    let last = format!("{0}-{0}", u64::MAX);
    may(&mut intake, &["XADD", "fanfare:ingest", &last, "channel", "room:7", "data", "x"]).await;
    let full = call(&mut intake, &["XADD", "fanfare:ingest", "*", "channel", "room:7", "data", "x"]).await;
    assert!(full.unwrap_err().to_string().contains("exhausted"));
}
