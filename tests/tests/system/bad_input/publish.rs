//! Bodies of `POST /v1/publish`.

use fanfare_testkit::api::check_problem;
use serde_json::{Value, json};

use super::{Check, Scene, scene};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

async fn refused(scene: &mut Scene, body: impl Into<Vec<u8>>, status: u16, code: &str, words: &[&str]) {
    let body = body.into();
    let case: String = String::from_utf8_lossy(&body).chars().take(60).collect();
    let answer = scene.cluster.a().api().call("POST", "/v1/publish", JSON, body).await;
    let check =
        answer.map_err(|e| format!("{e:?}")).and_then(|answer| answer.is_problem(status, code, words));
    scene.after(&case, check).await;
}

/// A publication with some fields other than the usual ones; null takes one away.
fn with(fields: &Value) -> String {
    let mut body = json!({"channel": "room:1", "data": "x"});
    for (name, value) in fields.as_object().expect("fields") {
        if value.is_null() {
            body.as_object_mut().expect("an object").remove(name);
        } else {
            body[name] = value.clone();
        }
    }
    body.to_string()
}

#[tokio::test]
async fn a_body_that_is_no_publication_is_refused() {
    let mut scene = scene().await;
    let s = &mut scene;
    for (body, words) in [
        (&b""[..], &["EOF"][..]),
        (b"{", &["EOF"]),
        (b"[", &["EOF"]),
        (b"{\"channel\":\"a\",\"data\":1} x", &["trailing"]),
        (b"{'channel':'a'}", &["line 1"]),
        (b"\"text\"", &["publication"]),
        (b"7", &["publication"]),
        (b"null", &["publication"]),
        (b"{\"channel\":\"a\",\"data\":\"\xff\"}", &["byte 23"]),
        (b"{\"channel\":\"a\",\"channel\":\"b\",\"data\":1}", &["channel"]),
        (b"{\"channel\":7,\"data\":1}", &["string"]),
        (b"{\"channel\":\"a\",\"data\":1,\"ephemeral\":\"yes\"}", &["boolean"]),
        (b"{\"channel\":\"a\",\"data\":1,\"type\":7}", &["string"]),
        (b"{\"channel\":\"a\",\"data\":1,\"key\":7}", &["string"]),
    ] {
        refused(s, body, 400, "bad-json", words).await;
    }
    refused(s, with(&json!({"data": null})), 400, "bad-json", &["data"]).await;
    refused(s, with(&json!({"channel": null})), 400, "bad-json", &["channel"]).await;
    refused(s, with(&json!({"colour": "red"})), 400, "bad-json", &["colour"]).await;
    refused(s, "[".repeat(100_000), 400, "bad-json", &[]).await;
    refused(s, r#"{"channel":"a","data":"\ud800"}"#, 400, "bad-event", &["data"]).await;
    let deep = format!(r#"{{"channel":"a","data":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    let answer = s.cluster.a().api().call("POST", "/v1/publish", JSON, deep).await.unwrap();
    let clear = if answer.status == 400 { Ok(()) } else { Err(answer.text) };
    s.after("data 1,000 levels deep", clear).await;
    scene.finish(20).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_one_is_refused() {
    let mut scene = scene().await;
    let s = &mut scene;
    for (channel, words) in [
        ("", &["empty"][..]),
        ("a b", &["' '", "byte 1"]),
        ("room{7}", &["'{'"]),
        ("röm", &["ö"]),
        ("a\nb", &["\\n"]),
        ("a*", &["'*'"]),
        (&"c".repeat(256), &["256", "255"]),
    ] {
        refused(s, with(&json!({"channel": channel})), 400, "bad-channel", words).await;
    }
    for (kind, words) in [
        ("", &["omit it"][..]),
        ("a\nid: 7", &["LF", "byte 1"]),
        ("a\rb", &["CR"]),
        ("a\0b", &["NUL"]),
        (&"t".repeat(129), &["129", "128"]),
    ] {
        refused(s, with(&json!({"type": kind})), 400, "bad-event", words).await;
    }
    for reserved in [
        "connected",
        "disconnected",
        "shutdown",
        "superseded",
        "excepted",
        "gap",
        "overloaded",
        "expired",
        "end",
        "error",
        "open",
    ] {
        refused(s, with(&json!({"type": reserved})), 400, "bad-event", &[reserved, "reserved"]).await;
    }
    for key in ["", "a\u{7}", &"k".repeat(129)] {
        refused(s, with(&json!({"key": key})), 400, "bad-event", &["key", "1 to 128"]).await;
    }
    refused(s, with(&json!({"key": "k", "ephemeral": true})), 400, "bad-event", &["ephemeral"]).await;
    refused(s, with(&json!({"data": "x".repeat(61_441)})), 413, "too-large", &["61441", "61440"]).await;
    scene.finish(27).await;
}

#[tokio::test]
async fn a_request_that_is_too_large_or_of_another_kind_is_refused() {
    let mut scene = scene().await;
    let s = &mut scene;
    refused(s, with(&json!({"data": "x".repeat(9 << 20)})), 413, "too-large", &[]).await;
    let many: Vec<_> = (0..1001).map(|_| json!({"channel": "room:1", "data": 1})).collect();
    refused(s, Value::Array(many).to_string(), 413, "too-large", &["1001", "1000"]).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let headers = [("content-type", kind)];
        let answer =
            s.cluster.a().api().call("POST", "/v1/publish", &headers, with(&json!({}))).await.unwrap();
        s.after(kind, answer.is_problem(415, "media-type", &["application/json"])).await;
    }
    scene.finish(6).await;
}

#[tokio::test]
async fn what_is_wrong_with_one_item_of_a_batch_does_not_touch_the_others() {
    let mut scene = scene().await;
    let batch = json!([
        {"channel": "room:1", "data": "first"}, 7, {"channel": "room:1"}, {"channel": "a b", "data": 1},
        {"channel": "room:1", "data": "x", "type": "a\nb"}, {"channel": "room:1", "data": "x".repeat(61_441)},
        {"channel": "room:1", "data": "last"},
    ]);
    let answer = scene.cluster.a().api().post(&batch).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let results = answer.json();
    for kept in [0, 6] {
        assert!(results[kept]["id"].is_string(), "{}", results[kept]);
    }
    for (item, status, code) in [
        (1, 400, "bad-json"),
        (2, 400, "bad-json"),
        (3, 400, "bad-channel"),
        (4, 400, "bad-event"),
        (5, 413, "too-large"),
    ] {
        let check = check_problem(&results[item]["error"], status, code, &[]);
        scene.after(&format!("item {item}"), check).await;
    }
    let kept = scene.cluster.a().api().get("/v1/channels/room:1/events").await.json();
    let data: Vec<_> =
        kept["events"].as_array().expect("events").iter().map(|event| &event["data"]).collect();
    assert_eq!(data, ["first", "last"]);
    let nothing: Check = match scene.cluster.a().api().post(&json!([])).await.unwrap() {
        answer if answer.status == 200 && answer.json() == json!([]) => Ok(()),
        answer => Err(answer.text),
    };
    scene.after("an empty batch", nothing).await;
    scene.finish(6).await;
}
