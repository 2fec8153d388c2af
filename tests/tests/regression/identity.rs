//! A session id identifies nothing without its user: on one node and across nodes, for streams, calls and commands.

use fanfare_testkit::client::Client;
use fanfare_testkit::cluster::Cluster;
use fanfare_testkit::deadline::{SOON, until};
use fanfare_testkit::lifecycle;
use fanfare_testkit::node::Node;
use fanfare_testkit::publisher::Publisher;
use fanfare_testkit::redis::Redis;
use fanfare_testkit::token::Token;
use serde_json::json;
use uuid::Uuid;

fn session() -> String {
    Uuid::new_v4().to_string()
}

/// The stream is open and gets what is published for its user.
async fn is_live(client: &mut Client, redis: &Redis, user: &str) {
    let data = Uuid::new_v4().to_string();
    Publisher::on(redis).await.publish(&format!("user:{user}"), "t", &data).await;
    // Other streams of the user may have had events of their own in between.
    client.find(|event| *event.data == *data).await;
}

async fn recorded(redis: &Redis, user: &str) -> usize {
    redis.get(&["HLEN", &format!("fanfare:{{user:{user}}}:sessions")]).await
}

async fn nothing_is_recorded_of(redis: &Redis, users: &[&str]) {
    for user in users {
        until(&format!("{user} has no session"), SOON, async || match recorded(redis, user).await {
            0 => Ok(()),
            left => Err(format!("{left} sessions of {user}")),
        })
        .await;
    }
}

#[tokio::test]
async fn two_users_with_one_session_id_have_two_sessions_and_both_are_reported_offline_when_they_leave() {
    let cluster = Cluster::pair().await;
    let id = session();
    let on = |node: usize, user: &str| cluster.nodes[node].stream().user(user).session(&id).open();
    let (mut alice, mut bob) = (on(0, "alice").await, on(0, "bob").await);
    let mut carol = on(1, "carol").await;
    is_live(&mut alice, &cluster.redis, "alice").await;
    is_live(&mut bob, &cluster.redis, "bob").await;
    is_live(&mut carol, &cluster.redis, "carol").await;

    // The same user takes the session over as before.
    let mut again = on(0, "alice").await;
    assert_eq!(alice.expect("superseded").await.json()["session"], id);
    let moved = on(1, "bob").await;
    assert_eq!(bob.expect("superseded").await.json()["session"], id);
    is_live(&mut again, &cluster.redis, "alice").await;

    for client in [&mut again, &mut carol] {
        client.close();
    }
    drop(moved);
    nothing_is_recorded_of(&cluster.redis, &["alice", "bob", "carol"]).await;
    for user in ["alice", "bob", "carol"] {
        until(&format!("{user} is offline"), SOON, async || {
            let events = lifecycle::of_user(&cluster.redis, user).await;
            if events.last().is_some_and(|last| last == "user.offline") {
                Ok(())
            } else {
                Err(format!("{events:?}"))
            }
        })
        .await;
    }
    let index: Vec<String> = cluster.redis.keys("fanfare:node:*:sessions").await;
    assert_eq!(index, Vec::<String>::new());
}

#[tokio::test]
async fn a_user_with_the_ids_of_anothers_sessions_can_neither_end_nor_fill_nor_see_them() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).auth("jwt").set("LIMITS__SESSIONS_PER_USER", "3").start().await;
    let (victim, eve) = (Token::of("victim").sign(), Token::of("eve").sign());
    let ids: Vec<String> = (0..3).map(|_| session()).collect();
    let mut streams = Vec::new();
    for id in &ids {
        streams.push(node.stream().token(&victim).session(id).open().await);
    }
    let api = node.api().with_token(&eve);
    let nobodys = session();
    let unknown = api.delete(&format!("/v1/users/eve/sessions/{nobodys}")).await;
    for id in &ids {
        // The response is the same for another user's id and for an unknown id.
        let answer = api.delete(&format!("/v1/users/eve/sessions/{id}")).await;
        answer.is_problem(404, "not-found", &["no session"]).unwrap();
        assert_eq!(answer.text.replace(id, "*"), unknown.text.replace(&nobodys, "*"));
        let theirs = api.delete(&format!("/v1/users/victim/sessions/{id}")).await;
        theirs.is_problem(403, "no-grant", &[]).unwrap();
        let own = node.stream().token(&eve).session(id).open().await;
        drop(own);
    }
    for stream in &mut streams {
        is_live(stream, &redis, "victim").await;
    }
    assert_eq!(recorded(&redis, "victim").await, 3);
    nothing_is_recorded_of(&redis, &["eve"]).await;
    assert_eq!(api.get("/v1/users/eve/sessions").await.json(), json!({"user": "eve", "sessions": []}));

    // The limit counts what is there, no less and no more.
    let full = node.stream().token(&victim).header("Prefer", "status").send().await;
    assert_eq!(full.status(), 429);
    streams.pop().expect("there are three").close();
    until("one more may come", SOON, async || match recorded(&redis, "victim").await {
        2 => Ok(()),
        left => Err(left),
    })
    .await;
    node.stream().token(&victim).open().await;
}

#[tokio::test]
async fn a_browser_that_changes_its_user_and_keeps_its_session_id_leaves_no_ghost() {
    let redis = Redis::start().await;
    let node = Node::of(&redis).start().await;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let (first, second, id) = (format!("a{n}"), format!("b{n}"), session());
        // Both ways: one after the other, and the second before the first has gone.
        let mut old = node.stream().user(&first).session(&id).open().await;
        if n % 2 == 0 {
            old.close();
        }
        let new = node.stream().user(&second).session(&id).open().await;
        drop((old, new));
        before.push(first);
        after.push(second);
    }
    let users: Vec<&str> = before.iter().chain(&after).map(String::as_str).collect();
    nothing_is_recorded_of(&redis, &users).await;
    assert!(node.metrics().await.sum("fanfare_session_releases_total", &["done"]) >= 40.0);
}

#[tokio::test]
async fn a_client_without_a_user_ends_nothing_of_a_users() {
    let cluster = Cluster::pair().await;
    let id = session();
    let mut alice = cluster.a().stream().user("alice").session(&id).open().await;
    let mut nameless = cluster.a().stream().session(&id).open().await;
    let again = cluster.a().stream().user("bob").session(&id).open().await;
    is_live(&mut alice, &cluster.redis, "alice").await;
    cluster.a().api().publish("broadcast", "t", "to all").await;
    nameless.expect_data("to all").await;
    drop(again);
}

#[tokio::test]
async fn a_call_or_a_command_about_one_users_session_leaves_the_other_users_alone() {
    let cluster = Cluster::pair().await;
    let id = session();
    let mut alice = cluster.a().stream().user("alice").session(&id).open().await;
    let mut bob = cluster.a().stream().user("bob").session(&id).open().await;
    // By the node itself, by another one, and by commands as other nodes send them.
    let ended = cluster.b().api().delete(&format!("/v1/users/bob/sessions/{id}")).await;
    assert_eq!(ended.json(), json!({"disconnected": 1}));
    assert_eq!(bob.expect("disconnected").await.json()["session"], id);
    nothing_is_recorded_of(&cluster.redis, &["bob"]).await;
    let far = u64::MAX / 2;
    for command in [
        json!({"op": "disconnect", "user": "bob", "session": id}),
        json!({"op": "supersede", "user": "bob", "session": id, "epoch": far}),
        // As nodes sent them that knew sessions by their ids.
        json!({"op": "disconnect", "session": id}),
        json!({"op": "supersede", "session": id, "epoch": far}),
    ] {
        assert_eq!(
            cluster.redis.cli(&["PUBLISH", "fanfare:node:a:control", &command.to_string()]).await,
            "1"
        );
    }
    until("the commands without a user are counted", SOON, async || {
        let counted = cluster.a().metrics().await.sum("fanfare_control_messages_total", &["malformed"]);
        if counted >= 2.0 { Ok(()) } else { Err(counted) }
    })
    .await;
    is_live(&mut alice, &cluster.redis, "alice").await;
    assert_eq!(recorded(&cluster.redis, "alice").await, 1);
    let command = json!({"op": "disconnect", "user": "alice", "session": id});
    cluster.redis.cli(&["PUBLISH", "fanfare:node:a:control", &command.to_string()]).await;
    alice.expect("disconnected").await;
}
