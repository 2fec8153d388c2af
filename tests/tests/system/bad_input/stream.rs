//! Requests for a stream.

use fanfare_protocol::cursor::MAX_CURSOR_BYTES;
use fanfare_testkit::request::StreamRequest;

use super::{Scene, scene, scene_with};

async fn refused(scene: &mut Scene, request: StreamRequest, code: &str, words: &[&str]) {
    let case = format!("{request:?}").chars().take(160).collect::<String>();
    let answer = request.send().await.answer().await;
    scene.after(&case, answer.is_problem(400, code, words)).await;
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_is_refused_and_never_guessed_at() {
    let mut scene = scene().await;
    // A good one, of several channels; and what can become of it.
    let good = scene.client.last_id().to_owned();
    assert!(good.starts_with('a'), "{good}");
    let stream = scene.cluster.a().stream().user("42");
    let damaged = |at: usize| {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).expect("ASCII")
    };
    let far = format!("a{}", "A".repeat(MAX_CURSOR_BYTES));
    let forms = [
        ("12x", "cursor"),
        ("-1", "cursor"),
        ("1.5", "cursor"),
        ("5-", "cursor"),
        ("-5", "cursor"),
        ("05-1", "cursor"),
        ("5-1-2", "cursor"),
        ("99999999999999999999-0", "cursor"),
        ("anew", "damaged"),
        ("ünï", "cursor"),
        ("a", "damaged"),
        ("a====", "damaged"),
        ("zAAAA", "cursor"),
        ("zBxhY2RlZmdoaWprbA", "version"),
        (&far, &MAX_CURSOR_BYTES.to_string()),
        (&good[..good.len() - 1], "damaged"),
        (&good[..good.len() / 2], "damaged"),
        (&format!("{good}A"), "damaged"),
        (&damaged(3), "damaged"),
        (&damaged(good.len() / 2), "damaged"),
    ];
    for (text, word) in forms {
        refused(&mut scene, stream.clone().after(text), "bad-cursor", &[word]).await;
        if text.is_ascii() {
            refused(&mut scene, stream.clone().header("Last-Event-ID", text), "bad-cursor", &[word]).await;
        }
    }
    scene.finish(30).await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_meant_is_refused() {
    let mut scene = scene().await;
    let s = &mut scene;
    let stream = s.cluster.a().stream();
    let with = |name: &str, value: &str| stream.clone().parameter(name, value);
    for (name, value, words) in [
        ("session", "7", &["uuid"][..]),
        ("session", "0b5c0f9e3c584f0e9c430b6a3f2f8f11", &["uuid"]),
        ("session", "", &["uuid"]),
        ("format", "xml", &["raw", "json"]),
        ("format", "", &["raw", "json"]),
        ("last", "x", &["last"]),
        ("last", "-1", &["last"]),
        ("last", "0", &["last"]),
        ("last", "99999999999999999999", &["last"]),
        ("user", "", &["user"]),
        ("user", "a b", &["user"]),
        ("user", "a\nb", &["user"]),
    ] {
        refused(s, with(name, value), "bad-request", words).await;
    }
    for name in ["after", "last", "session", "format", "user"] {
        let value = match name {
            "session" => "0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11",
            "format" => "raw",
            _ => "1",
        };
        refused(s, with(name, value).parameter(name, value), "bad-request", &[name]).await;
    }
    for channel in ["", "a b", "room{7}", "röm", "a\nb", &"c".repeat(256)] {
        refused(s, with("channel", channel), "bad-channel", &["channel"]).await;
    }
    scene.finish(23).await;
}

#[tokio::test]
async fn a_stream_of_too_many_channels_is_refused() {
    let mut scene = scene_with(|node| node.set("LIMITS__CHANNELS_PER_STREAM", "10")).await;
    let rooms = |count: usize| (0..count).map(|n| format!("room:{n}")).collect::<Vec<_>>();
    let stream = scene.cluster.a().stream().user("42");
    refused(&mut scene, stream.clone().channels(&rooms(9)), "bad-request", &["10"]).await;
    // Naming one twice, or those that are joined anyway, is no harm.
    let fits = stream.channels(&rooms(8)).channels(&rooms(8)).channel("broadcast").channel("user:42");
    fits.open().await;
    scene.finish(1).await;
}

#[tokio::test]
async fn a_query_that_is_not_utf8_is_refused() {
    let mut scene = scene().await;
    for query in ["channel=%FF", "channel=room%C3%28"] {
        let answer = scene.cluster.a().api().get(&format!("/v1/events?{query}")).await;
        scene.after(query, answer.is_problem(400, "bad-channel", &["channel"])).await;
    }
    scene.finish(2).await;
}
