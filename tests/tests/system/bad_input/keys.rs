//! Keys in Redis that have another type, or another content, than they should.

use fanfare_testkit::api::Answer;
use fanfare_testkit::client::End;
use fanfare_testkit::deadline::{SOON, until};
use serde_json::json;

use super::{Check, Scene, scene};

/// Leaves something else under a key.
async fn spoil(scene: &Scene, key: &str, kind: &str) {
    let redis = &scene.cluster.redis;
    redis.get::<usize>(&["DEL", key]).await;
    match kind {
        "list" => redis.get::<()>(&["RPUSH", key, "x"]).await,
        "text" => redis.get::<()>(&["SET", key, "x"]).await,
        "hash" => redis.get::<()>(&["HSET", key, "x", "y"]).await,
        other => panic!("no such kind: {other}"),
    }
}

async fn publish(scene: &Scene, channel: &str) -> Answer {
    scene.cluster.a().api().post(&json!({"channel": channel, "data": "x"})).await.unwrap()
}

#[tokio::test]
async fn a_channel_whose_keys_have_another_type_is_refused_until_they_are_mended() {
    let mut scene = scene().await;
    for (key, kind) in [("log", "text"), ("log", "list"), ("log", "hash"), ("last", "list"), ("last", "hash")]
    {
        let name = format!("fanfare:{{spoilt}}:{key}");
        spoil(&scene, &name, kind).await;
        let check = publish(&scene, "spoilt").await.is_problem(409, "refused", &[]);
        scene.after(&format!("publish, {key} is a {kind}"), check).await;
        if key == "log" {
            let answer = scene.cluster.a().api().get("/v1/channels/spoilt/events").await;
            scene.after(&format!("history, {key} is a {kind}"), answer.is_problem(409, "refused", &[])).await;
        }
        let call = scene.publisher.call("spoilt", "t", "x", None).await;
        let check = call.map(|_| ()).err().ok_or("FCALL succeeds".to_owned()).map(|_| ());
        scene.after(&format!("FCALL, {key} is a {kind}"), check).await;
        scene.cluster.redis.get::<usize>(&["DEL", &name]).await;
        let mended = publish(&scene, "spoilt").await;
        assert_eq!(mended.status, 200, "{}", mended.text);
        scene.cluster.redis.get::<usize>(&["DEL", "fanfare:{spoilt}:log", "fanfare:{spoilt}:last"]).await;
    }
    // An idempotency key that is none.
    spoil(&scene, "fanfare:{spoilt}:once:k", "list").await;
    let body = json!({"channel": "spoilt", "data": "x", "key": "k"});
    let answer = scene.cluster.a().api().post(&body).await.unwrap();
    scene.after("once is a list", answer.is_problem(409, "refused", &[])).await;
    // One bad channel does not touch the others of a batch.
    spoil(&scene, "fanfare:{spoilt}:log", "text").await;
    let batch = json!([{"channel": "spoilt", "data": 1}, {"channel": "room:1", "data": 1}]);
    let results = scene.cluster.a().api().post(&batch).await.unwrap().json();
    assert!(results[1]["id"].is_string(), "{results}");
    let check = fanfare_testkit::api::check_problem(&results[0]["error"], 409, "refused", &[]);
    scene.after("one channel of a batch", check).await;
    scene.finish(15).await;
}

#[tokio::test]
async fn a_stream_of_a_channel_whose_log_is_none_does_not_break_the_others() {
    let mut scene = scene().await;
    spoil(&scene, "fanfare:{spoilt}:log", "text").await;
    spoil(&scene, "fanfare:{spoilt}:last", "list").await;
    let stream = scene.cluster.a().stream().user("42").channel("spoilt").after("earliest");
    let refused = stream.header("Prefer", "status").send().await;
    let check: Check = if refused.status() == 200 {
        // It may also be served without that channel, as long as the others come through.
        Ok(())
    } else {
        refused.answer().await.is_problem(409, "refused", &[])
    };
    scene.after("stream of a channel without a log", check).await;
    scene.finish(1).await;
}

#[tokio::test]
async fn entries_of_a_log_that_the_script_did_not_write_are_passed_over() {
    let mut scene = scene().await;
    let redis = &scene.cluster.redis;
    let first = scene.publisher.publish("room:1", "t", "first").await;
    for fields in
        [&["foo", "bar"][..], &["t", "a\nid: 7", "d", "x", "p", "0-0"], &["t", "t", "d", "x", "p", "never"]]
    {
        redis.get::<String>(&[&["XADD", "fanfare:{room:1}:log", "*"][..], fields].concat()).await;
    }
    scene.publisher.publish("room:1", "t", "last").await;
    let mut client = scene.cluster.a().stream().user("42").channel("room:1").after("earliest").open().await;
    client.expect_data("first").await;
    let event = client.find(|event| event.kind != "gap").await;
    assert_eq!(&*event.data, "last");
    let history =
        scene.cluster.a().api().get(&format!("/v1/channels/room:1/events?after={first}")).await.json();
    let data: Vec<_> =
        history["events"].as_array().expect("events").iter().map(|event| &event["data"]).collect();
    assert_eq!(data, ["last"]);
    scene.after("entries by hand", Ok(())).await;
    scene.finish(1).await;
}

#[tokio::test]
async fn a_user_whose_sessions_have_another_type_is_turned_away_clearly() {
    let mut scene = scene().await;
    for kind in ["text", "list"] {
        spoil(&scene, "fanfare:{user:42}:sessions", kind).await;
        let stream = scene.cluster.a().stream().user("42");
        let response = stream.clone().header("Prefer", "status").send().await.answer().await;
        let clear = if [409, 503].contains(&response.status) { Ok(()) } else { Err(format!("{response:?}")) };
        scene.after(&format!("sessions are a {kind}"), clear).await;
        let mut ended = stream.clone().send().await;
        let check = if ended.status() == 200 {
            ended.expect("overloaded").await;
            (ended.end().await == End::Clean).then_some(()).ok_or("no clean end".to_owned())
        } else {
            ended.answer().await.is_problem(409, "refused", &[])
        };
        scene.after(&format!("a native EventSource, sessions are a {kind}"), check).await;
        let list = scene.cluster.a().api().get("/v1/users/42/sessions").await;
        scene.after(&format!("list, sessions are a {kind}"), list.is_problem(409, "refused", &[])).await;
        scene.cluster.redis.get::<usize>(&["DEL", "fanfare:{user:42}:sessions"]).await;
        stream.open().await;
    }
    scene.finish(6).await;
}

#[tokio::test]
async fn an_owner_that_cannot_be_read_is_replaced_by_the_next_claim() {
    let mut scene = scene().await;
    let session = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
    for owner in ["x", "{}", "[]", r#"{"node":7}"#, r#"{"node":"a","epoch":"x","since":1,"client":"c"}"#] {
        let sessions = "fanfare:{user:42}:sessions";
        scene.cluster.redis.get::<usize>(&["HSET", sessions, session, owner]).await;
        let list = scene.cluster.a().api().get("/v1/users/42/sessions").await;
        let clear = if list.status == 200 || list.status == 409 { Ok(()) } else { Err(list.text) };
        scene.after(&format!("list, owner {owner}"), clear).await;
        let mut client = scene.cluster.a().stream().user("42").session(session).open().await;
        client.close();
        until("the session is free", SOON, async || {
            let left: usize = scene.cluster.redis.get(&["HLEN", sessions]).await;
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
        scene.after(&format!("claim, owner {owner}"), Ok(())).await;
    }
    scene.finish(10).await;
}

#[tokio::test]
async fn intake_and_lifecycle_go_on_once_their_keys_are_mended() {
    let mut scene = scene().await;
    for (key, kind) in [("fanfare:ingest", "text"), ("fanfare:ingest:dead", "list")] {
        spoil(&scene, key, kind).await;
        scene.after(&format!("{key} is a {kind}"), Ok(())).await;
        if key == "fanfare:ingest:dead" {
            // It cannot be buried, so it waits; the good one behind it need not.
            scene.publisher.ingest(&[("bad", b"entry")]).await.unwrap();
            scene.after("an entry that cannot be buried", Ok(())).await;
        }
        scene.cluster.redis.get::<usize>(&["DEL", key]).await;
        let text = scene.ledger.draw(super::GOOD);
        let good = [("channel", super::GOOD.as_bytes()), ("data", text.as_bytes())];
        scene.publisher.ingest(&good).await.unwrap();
        scene.ledger.accept(&text);
        scene.account.follow(&mut scene.client, &scene.ledger, SOON).await;
    }
    until("the bad one is buried", SOON, async || {
        let dead: usize = scene.cluster.redis.get(&["XLEN", "fanfare:ingest:dead"]).await;
        if dead == 1 { Ok(()) } else { Err(dead) }
    })
    .await;
    // Clients are served although events cannot be reported, or all get a clear error; afterwards it works again.
    spoil(&scene, "fanfare:lifecycle", "text").await;
    let response = scene.cluster.a().stream().user("42").header("Prefer", "status").send().await;
    let clear = if [200, 409, 503].contains(&response.status()) {
        Ok(())
    } else {
        Err(format!("{}", response.status()))
    };
    scene.after("lifecycle is a text", clear).await;
    scene.cluster.redis.get::<usize>(&["DEL", "fanfare:lifecycle"]).await;
    scene.cluster.a().stream().user("43").open().await;
    scene.finish(4).await;
}
