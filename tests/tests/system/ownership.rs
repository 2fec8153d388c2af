//! Who holds a session.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_broker::redis::{RedisBroker, RedisSettings};
use fanfare_broker::session::{CloseReason, Holding, Renewed};
use fanfare_broker::{BrokerSettings, NodeId, SessionStore};
use fanfare_protocol::User;
use fanfare_testkit::client::{Client, End};
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, becomes, until};
use fanfare_testkit::footprint::Footprint;
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::NodeBuilder;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use serde_json::{Value, json};
use uuid::Uuid;

/// The sessions a user has, as Redis holds them: session → node and epoch.
async fn held(redis: &Redis, user: &str) -> Vec<(String, String, u64)> {
    let hash: Vec<(String, String)> =
        redis.get(&["HGETALL", &format!("fanfare:{{user:{user}}}:sessions")]).await;
    let owner = |text: &str| {
        let owner: Value = serde_json::from_str(text).expect("an owner is JSON");
        (owner["node"].as_str().expect("a node").to_owned(), owner["epoch"].as_u64().expect("an epoch"))
    };
    let mut all: Vec<_> = hash
        .iter()
        .map(|(session, text)| {
            let (node, epoch) = owner(text);
            (session.clone(), node, epoch)
        })
        .collect();
    all.sort();
    all
}

/// What a node's index says it owns: `<session> <user>`.
async fn index(redis: &Redis, node: &str) -> BTreeSet<String> {
    redis.get(&["SMEMBERS", &format!("fanfare:node:{node}:sessions")]).await
}

/// The stream is alive: the next thing that comes is what is published now.
async fn is_live(client: &mut Client, redis: &Redis, user: &str) {
    let data = Uuid::new_v4().to_string();
    Publisher::on(redis).await.publish(&format!("user:{user}"), "t", &data).await;
    client.expect_data(&data).await;
}

/// Returns the command to a node whose session of user 42 another node has claimed.
fn control(session: &str, epoch: u64) -> String {
    json!({"op": "supersede", "user": "42", "session": session, "epoch": epoch}).to_string()
}

async fn is_superseded(client: &mut Client, session: &str) {
    assert_eq!(client.expect("superseded").await.json()["session"], session);
    assert_eq!(client.end().await, End::Clean);
}

#[tokio::test]
async fn of_two_connections_with_one_session_the_newer_wins_and_the_older_frees_everything() {
    let cluster =
        Cluster::on(Redis::start().await, 2, |node| node.set("STREAM__UNSUBSCRIBE_DELAY", "100ms")).await;
    let session = Uuid::new_v4().to_string();
    let nothing = Footprint::of(&cluster.nodes[..1], &cluster.redis).await;
    let mut old = cluster.a().stream().user("42").session(&session).open().await;
    assert_eq!((old.session(), old.node()), (&*session, "a"));
    let first = held(&cluster.redis, "42").await;
    let mut new = cluster.b().stream().user("42").session(&session).open().await;
    is_superseded(&mut old, &session).await;

    let second = held(&cluster.redis, "42").await;
    assert_eq!(second.len(), 1);
    assert!(second[0].1 == "b" && second[0].2 > first[0].2, "{first:?} {second:?}");
    assert_eq!(index(&cluster.redis, "a").await, BTreeSet::new());
    assert_eq!(index(&cluster.redis, "b").await, [format!("{session} 42")].into());
    lifecycle::tells(&cluster.redis, "42", &["session.connected a", "user.online", "session.moved a>b"])
        .await;
    is_live(&mut new, &cluster.redis, "42").await;

    new.close();
    until("node a holds nothing", SOON, async || {
        let now = Footprint::of(&cluster.nodes[..1], &cluster.redis).await;
        let difference = nothing.difference(&now);
        if difference.is_empty() { Ok(()) } else { Err(difference) }
    })
    .await;
}

#[tokio::test]
async fn the_same_holds_on_one_node() {
    let cluster = Cluster::pair().await;
    let session = Uuid::new_v4().to_string();
    let mut old = cluster.a().stream().user("42").session(&session).open().await;
    let mut new = cluster.a().stream().user("42").session(&session).open().await;
    is_superseded(&mut old, &session).await;
    is_live(&mut new, &cluster.redis, "42").await;
    assert_eq!(held(&cluster.redis, "42").await.len(), 1);
    becomes("one stream is left", 1.0, async || cluster.a().streams().await).await;
    assert!(!lifecycle::of_user(&cluster.redis, "42").await.contains(&"user.offline".to_owned()));
}

#[tokio::test]
async fn a_session_that_hops_between_nodes_is_never_offline_and_its_last_claim_holds() {
    let cluster = Cluster::pair().await;
    let session = Uuid::new_v4().to_string();
    let mut clients = Vec::new();
    for hop in 0..20 {
        clients.push(cluster.nodes[hop % 2].stream().user("42").session(&session).open().await);
    }
    let mut last = clients.pop().expect("there are twenty");
    for client in &mut clients {
        is_superseded(client, &session).await;
    }
    is_live(&mut last, &cluster.redis, "42").await;
    let events = lifecycle::of_user(&cluster.redis, "42").await;
    assert_eq!(events.len(), 2 + 19, "{events:?}");
    assert!(events[2..].iter().all(|event| event.starts_with("session.moved")), "{events:?}");
}

#[tokio::test]
async fn a_control_command_with_an_old_epoch_changes_nothing() {
    let cluster = Cluster::pair().await;
    let session = Uuid::new_v4().to_string();
    let mut client = cluster.a().stream().user("42").session(&session).open().await;
    let epoch = held(&cluster.redis, "42").await[0].2;
    for old in [0, epoch - 1, epoch] {
        let command = control(&session, old);
        assert_eq!(cluster.redis.cli(&["PUBLISH", "fanfare:node:a:control", &command]).await, "1");
    }
    is_live(&mut client, &cluster.redis, "42").await;
    let command = control(&session, epoch + 1);
    cluster.redis.cli(&["PUBLISH", "fanfare:node:a:control", &command]).await;
    is_superseded(&mut client, &session).await;
}

#[tokio::test]
async fn a_node_killed_hard_has_its_sessions_swept_and_reported() {
    let mut cluster = Cluster::on(Redis::start().await, 2, NodeBuilder::short_lease).await;
    let mut lost = Vec::new();
    for user in ["1", "2", "3"] {
        lost.push(cluster.a().stream().user(user).open().await);
    }
    // One user is on both nodes: not offline.
    let mut stays = cluster.b().stream().user("3").open().await;
    cluster.nodes[0].kill().await;
    for user in ["1", "2"] {
        let events = ["session.connected a", "user.online", "session.disconnected node-lost", "user.offline"];
        lifecycle::tells(&cluster.redis, user, &events).await;
        assert_eq!(held(&cluster.redis, user).await, []);
    }
    let events =
        ["session.connected a", "user.online", "session.connected b", "session.disconnected node-lost"];
    lifecycle::tells(&cluster.redis, "3", &events).await;
    assert_eq!(held(&cluster.redis, "3").await.len(), 1);
    until("nothing is left of node a", SOON, async || {
        let keys = cluster.redis.keys("fanfare:node:a*").await;
        let nodes: Vec<String> = cluster.redis.get(&["SMEMBERS", "fanfare:nodes"]).await;
        if keys.is_empty() && nodes == ["b"] { Ok(()) } else { Err(format!("{keys:?} {nodes:?}")) }
    })
    .await;
    let nodes = cluster.b().api().get("/v1/nodes").await.json();
    assert_eq!(nodes["nodes"].as_array().map(Vec::len), Some(1), "{nodes}");
    is_live(&mut stays, &cluster.redis, "3").await;
}

#[tokio::test]
async fn a_node_that_was_paused_for_longer_than_its_lease_cannot_steal_a_session_back() {
    let cluster = Cluster::on(Redis::start().await, 2, NodeBuilder::short_lease).await;
    let (moved, left) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let mut old = cluster.a().stream().user("42").session(&moved).open().await;
    let mut swept = cluster.a().stream().user("43").session(&left).open().await;
    cluster.a().pause();
    lifecycle::tells(
        &cluster.redis,
        "43",
        &["session.connected a", "user.online", "session.disconnected node-lost", "user.offline"],
    )
    .await;
    let mut new = cluster.b().stream().user("42").session(&moved).open().await;
    cluster.a().resume();
    // Its client has moved: it lets go.
    is_superseded(&mut old, &moved).await;
    is_live(&mut new, &cluster.redis, "42").await;
    // No node has claimed the other session since: it is this node's again, and its client is not affected.
    until("the swept session is claimed again", SOON, async || match &*held(&cluster.redis, "43").await {
        [(session, node, _)] if *session == left && node == "a" => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    is_live(&mut swept, &cluster.redis, "43").await;
    let owners = held(&cluster.redis, "42").await;
    assert!(matches!(&*owners, [(session, node, _)] if *session == moved && node == "b"), "{owners:?}");
}

#[tokio::test]
async fn the_limit_of_sessions_per_user_holds_across_nodes() {
    let cluster =
        Cluster::on(Redis::start().await, 2, |node| node.set("LIMITS__SESSIONS_PER_USER", "3")).await;
    let session = Uuid::new_v4().to_string();
    let first = cluster.a().stream().user("42").session(&session).open().await;
    let mut others =
        vec![cluster.a().stream().user("42").open().await, cluster.b().stream().user("42").open().await];
    for node in &cluster.nodes {
        let mut refused = node.stream().user("42").send().await;
        assert_eq!(refused.expect("overloaded").await.json()["reason"], "user-sessions");
        assert_eq!(refused.end().await, End::Clean);
        assert!(refused.retry().is_some_and(|retry| retry > Duration::ZERO));
        let answer = node.stream().user("42").header("Prefer", "status").send().await.answer().await;
        answer.is_problem(429, "user-sessions", &["sessions"]).unwrap_or_else(|e| panic!("{e}"));
        assert!(!answer.header("retry-after").is_empty());
    }
    // A session that is counted already may move.
    let mut moved = cluster.b().stream().user("42").session(&session).open().await;
    drop(first);
    // Another user is not affected.
    cluster.a().stream().user("43").open().await;
    others.pop().expect("two others").close();
    becomes("a session is free", 2, async || held(&cluster.redis, "42").await.len()).await;
    cluster.a().stream().user("42").open().await;
    is_live(&mut moved, &cluster.redis, "42").await;
}

#[tokio::test]
async fn a_rush_of_one_user_on_all_nodes_does_not_pass_the_limit() {
    let cluster =
        Cluster::on(Redis::start().await, 2, |node| node.set("LIMITS__SESSIONS_PER_USER", "3")).await;
    let rush = (0..20).map(|n| cluster.nodes[n % 2].stream().user("42").send());
    let mut clients = futures_util::future::join_all(rush).await;
    let mut connected = 0;
    for client in &mut clients {
        connected += usize::from(client.next().await.kind == "connected");
    }
    assert_eq!((connected, held(&cluster.redis, "42").await.len()), (3, 3));
}

#[tokio::test]
async fn a_release_or_a_renewal_with_an_old_epoch_changes_nothing() {
    let cluster = Cluster::pair().await;
    let session = Uuid::new_v4().to_string();
    let mut client = cluster.a().stream().user("42").session(&session).open().await;
    let owner = held(&cluster.redis, "42").await;
    let events = lifecycle::of_user(&cluster.redis, "42").await;

    // What a node does that was paused and does not know that time has passed.
    let settings = RedisSettings { url: cluster.redis.url(), ..RedisSettings::default() };
    let broker = RedisBroker::connect(settings, BrokerSettings::default()).unwrap();
    let (user, id) = (User::new("42").unwrap(), session.parse().unwrap());
    let epoch = owner[0].2;
    // The node that owns it learns the epoch that it missed; no other node gets it.
    let cases = [
        ("a", epoch - 1, Renewed::Held(epoch)),
        ("b", epoch - 1, Renewed::Lost),
        ("b", epoch, Renewed::Lost),
        ("b", 0, Renewed::Lost),
    ];
    for (node, epoch, renewed) in cases {
        let node = NodeId::new(node).unwrap();
        let released = broker.release(&node, &user, id, epoch, CloseReason::Closed.into()).await.unwrap();
        assert!(!released, "{node} {epoch}");
        let holding = Holding { user: user.clone(), session: id, epoch, since: 1, client: "x".into() };
        assert_eq!(broker.renew(&node, &[holding]).await.unwrap(), [renewed], "{node} {epoch}");
    }
    assert_eq!(held(&cluster.redis, "42").await, owner);
    assert_eq!(lifecycle::of_user(&cluster.redis, "42").await, events);
    is_live(&mut client, &cluster.redis, "42").await;

    // The owner itself may.
    let node = NodeId::new("a").unwrap();
    let holding = Holding { user: user.clone(), session: id, epoch, since: 1, client: "x".into() };
    assert_eq!(broker.renew(&node, &[holding]).await.unwrap(), [Renewed::Held(epoch)]);
    assert!(broker.release(&node, &user, id, epoch, CloseReason::Closed.into()).await.unwrap());
    assert_eq!(held(&cluster.redis, "42").await, []);
}
