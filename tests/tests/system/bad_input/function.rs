//! Arguments of `FCALL fanfare_publish`.

use redis::cmd;

use super::scene;

/// Keys, arguments, and words of the error.
type Case<'a> = (&'a [&'a str], &'a [&'a [u8]], &'a [&'a str]);

#[tokio::test]
async fn a_call_that_cannot_be_one_is_refused_by_name() {
    let mut scene = scene().await;
    let log = "fanfare:{room:1}:log";
    let (long_channel, long_type) = (format!("fanfare:{{{}}}:log", "c".repeat(256)), "t".repeat(129));
    let (long_data, long_key) = ("x".repeat(61_441), "k".repeat(129));
    let cases: &[Case] = &[
        (&[], &[b"t", b"d"], &["key"]),
        (&[log, log], &[b"t", b"d"], &["key"]),
        (&[log], &[], &["argument"]),
        (&[log], &[b"t"], &["argument"]),
        (&[log], &[b"t", b"d", b"k", b"0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11", b"x", b"y"], &["argument"]),
        (&[log], &[b"t", b"d", b"k", b"x"], &["except", "<user>/<session>"]),
        (&["room:1"], &[b"t", b"d"], &["fanfare:{<channel>}:log"]),
        (&["fanfare:{room:1}:last"], &[b"t", b"d"], &["fanfare:{<channel>}:log"]),
        (&["other:{room:1}:log"], &[b"t", b"d"], &["fanfare:{<channel>}:log"]),
        (&["fanfare:{}:log"], &[b"t", b"d"], &["empty"]),
        (&["fanfare:{a b}:log"], &[b"t", b"d"], &["byte 1"]),
        (&["fanfare:{a}b}:log"], &[b"t", b"d"], &["byte 1"]),
        (&["fanfare:{röm}:log"], &[b"t", b"d"], &["byte 1"]),
        (&[&long_channel], &[b"t", b"d"], &["256"]),
        (&[log], &[b"a\nid: 7", b"d"], &["LF"]),
        (&[log], &[b"a\rb", b"d"], &["CR"]),
        (&[log], &[b"a\0b", b"d"], &["NUL"]),
        (&[log], &[b"gap", b"d"], &["gap", "reserved"]),
        (&[log], &[b"error", b"d"], &["\"error\" is reserved", "onerror", "task.error"]),
        (&[log], &[long_type.as_bytes(), b"d"], &["129"]),
        (&[log], &[b"\xff", b"d"], &["type", "UTF-8"]),
        (&[log], &[b"t", b"ab\xff"], &["data", "UTF-8"]),
        (&[log], &[b"t", b"\xed\xa0\x80"], &["data", "UTF-8"]),
        (&[log], &[b"t", b"\xc0\xaf"], &["data", "UTF-8"]),
        (&[log], &[b"t", b"\xf4\x90\x80\x80"], &["data", "UTF-8"]),
        (&[log], &[b"t", b"\xf0\x9f\x8e"], &["data", "UTF-8"]),
        (&[log], &[b"t", long_data.as_bytes()], &["61441", "61440"]),
        (&[log], &[b"t", b"d", b""], &["key"]),
        (&[log], &[b"t", b"d", b"a\x07"], &["key"]),
        (&[log], &[b"t", b"d", long_key.as_bytes()], &["key"]),
    ];
    for (keys, arguments, words) in cases {
        let mut call = cmd("FCALL");
        call.arg("fanfare_publish").arg(keys.len()).arg(keys).arg(arguments);
        let mut connection = scene.cluster.redis.connection().await.unwrap();
        let answer = call.query_async::<redis::Value>(&mut connection).await;
        let check = match &answer {
            Err(error) if error.code() == Some("FANFARE") => {
                let detail = error.detail().unwrap_or_default();
                let missing: Vec<_> = words.iter().filter(|word| !detail.contains(**word)).collect();
                if missing.is_empty() { Ok(()) } else { Err(format!("{detail:?} has no {missing:?}")) }
            }
            other => Err(format!("{other:?}")),
        };
        scene.after(&format!("{keys:.40?} {words:?}"), check).await;
    }
    assert_eq!(scene.cluster.redis.keys("*room*").await, Vec::<String>::new(), "nothing was changed");
    scene.finish(29).await;
}
