//! Messages on a node's control topic.

use fanfare_testkit::deadline::{SOON, until};
use serde_json::json;

use super::scene;

#[tokio::test]
async fn a_control_message_that_is_no_command_changes_nothing() {
    let mut scene = scene().await;
    let session = scene.client.session().to_owned();
    let other = "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11";
    let huge = "x".repeat(1 << 20);
    let texts = [
        String::new(),
        "x".into(),
        "{".into(),
        "[]".into(),
        "null".into(),
        "{}".into(),
        huge,
        json!({"op": "format-disk"}).to_string(),
        json!({"op": "disconnect"}).to_string(),
        json!({"op": "disconnect", "user": "good"}).to_string(),
        json!({"op": "disconnect", "session": session}).to_string(),
        json!({"op": "disconnect", "user": null, "session": session}).to_string(),
        json!({"op": "disconnect", "user": "", "session": session}).to_string(),
        json!({"op": "disconnect", "user": "bad user", "session": session}).to_string(),
        json!({"op": "disconnect", "user": "good", "session": 7}).to_string(),
        json!({"op": "disconnect", "user": "good", "session": "7"}).to_string(),
        json!({"op": "disconnect", "user": "good", "session": session, "force": true}).to_string(),
        json!({"op": "disconnect", "user": "good", "session": other}).to_string(),
        json!({"op": "disconnect", "user": "other", "session": session}).to_string(),
        json!({"op": "supersede", "user": "good", "session": session}).to_string(),
        json!({"op": "supersede", "user": "good", "session": session, "epoch": -1}).to_string(),
        json!({"op": "supersede", "user": "good", "session": session, "epoch": "9"}).to_string(),
        json!({"op": "supersede", "user": "good", "session": session, "epoch": 1}).to_string(),
        json!({"op": "supersede", "session": session, "epoch": 99_999_999_999_999_u64}).to_string(),
        json!({"op": "supersede", "user": "good", "session": other, "epoch": 99_999_999_999_999_u64})
            .to_string(),
    ];
    let mut messages: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    messages.push(b"\xff\xfe\0".to_vec());
    for message in messages {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("fanfare:node:a:control").arg(&message);
        let mut connection = scene.cluster.redis.connection().await.unwrap();
        let receivers: usize = publish.query_async(&mut connection).await.unwrap();
        let check = if receivers == 1 { Ok(()) } else { Err(format!("{receivers} nodes received it")) };
        let case: String = String::from_utf8_lossy(&message).chars().take(60).collect();
        scene.after(&case, check).await;
    }
    // A flood is no harm either.
    let mut flood = redis::pipe();
    for _ in 0..20_000 {
        flood.publish("fanfare:node:a:control", "x").ignore();
    }
    let mut connection = scene.cluster.redis.connection().await.unwrap();
    flood.query_async::<()>(&mut connection).await.unwrap();
    scene.after("20,000 at once", Ok(())).await;
    until("malformed commands are counted", SOON, async || {
        let metrics = scene.cluster.a().metrics().await;
        let counted = metrics.sum("fanfare_control_messages_total", &["malformed"]);
        if counted >= 10.0 { Ok(()) } else { Err(counted) }
    })
    .await;
    scene.finish(20).await;
}
