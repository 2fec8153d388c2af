//! Entries of the ingest stream.

use std::collections::BTreeMap;

use fanfare_testkit::deadline::{SOON, becomes, until};

use super::scene;

type Entry<'a> = (&'a [(&'a str, &'a [u8])], &'a [&'a str]);

#[tokio::test]
async fn malformed_entries_go_to_the_dead_with_the_reason_and_the_rest_goes_on() {
    let mut scene = scene().await;
    let (long_channel, long_type, long_key) = ("c".repeat(256), "t".repeat(129), "k".repeat(129));
    let long_data = "x".repeat(61_441);
    let (c, d) = (("channel", &b"room:1"[..]), ("data", &b"x"[..]));
    let cases: &[Entry] = &[
        (&[d], &["channel", "missing"]),
        (&[c], &["data", "missing"]),
        (&[("a", b"b")], &["\"a\"", "unknown field"]),
        (&[c, d, ("colour", b"red")], &["colour", "unknown field"]),
        (&[c, d, ("Type", b"t")], &["Type", "unknown field"]),
        (&[c, c, d], &["channel", "twice"]),
        (&[("channel", b""), d], &["channel", "empty"]),
        (&[("channel", b"a b"), d], &["channel", "' '"]),
        (&[("channel", b"room{7}"), d], &["channel", "'{'"]),
        (&[("channel", b"\xff"), d], &["channel", "UTF-8"]),
        (&[("channel", long_channel.as_bytes()), d], &["channel", "256"]),
        (&[c, d, ("type", b"a\nid: 7")], &["LF"]),
        (&[c, d, ("type", b"a\rb")], &["CR"]),
        (&[c, d, ("type", b"a\0b")], &["NUL"]),
        (&[c, d, ("type", b"gap")], &["gap", "reserved"]),
        (&[c, d, ("type", b"open")], &["\"open\" is reserved", "onopen", "task.open"]),
        (&[c, d, ("type", b"\xc3\x28")], &["UTF-8"]),
        (&[c, d, ("type", long_type.as_bytes())], &["129"]),
        (&[c, ("data", b"ab\xff")], &["UTF-8", "byte 2"]),
        (&[c, ("data", b"\xed\xa0\x80")], &["UTF-8"]),
        (&[c, ("data", long_data.as_bytes())], &["61441", "61440"]),
        (&[c, d, ("key", b"")], &["key"]),
        (&[c, d, ("key", b"a\x07")], &["key"]),
        (&[c, d, ("key", b"\xff")], &["key"]),
        (&[c, d, ("key", long_key.as_bytes())], &["key"]),
    ];
    // All at once, between valid entries: malformed entries do not delay valid ones.
    let mut wanted = BTreeMap::new();
    for (fields, words) in cases {
        let id = scene.publisher.ingest(fields).await.expect("Redis takes it");
        wanted.insert(id, *words);
        let text = scene.ledger.draw(super::GOOD);
        let good = [("channel", super::GOOD.as_bytes()), ("data", text.as_bytes())];
        scene.publisher.ingest(&good).await.expect("Redis takes it");
        scene.ledger.accept(&text);
    }
    scene.account.follow(&mut scene.client, &scene.ledger, SOON).await;
    becomes("all bad ones are among the dead", cases.len(), async || {
        scene.cluster.redis.get(&["XLEN", "fanfare:ingest:dead"]).await
    })
    .await;

    let dead = scene.cluster.redis.stream("fanfare:ingest:dead").await;
    for (n, (_, fields)) in dead.iter().enumerate() {
        let (reason, entry) = (&fields[0], &fields[1]);
        assert_eq!((&*reason.0, &*entry.0), ("reason", "entry"), "these come before its own");
        let (reason, entry) = (&reason.1, &entry.1);
        let words = wanted.remove(entry).unwrap_or_else(|| panic!("{entry} is none of ours, or twice"));
        let missing: Vec<_> = words.iter().filter(|word| !reason.contains(**word)).collect();
        let check = if missing.is_empty() { Ok(()) } else { Err(format!("{reason:?} has no {missing:?}")) };
        // Its own fields are there as they were.
        let sent = cases[n].0.iter().map(|(name, value)| (*name, String::from_utf8_lossy(value)));
        let own = fields[2..].iter().map(|(name, value)| (name.as_str(), value.as_str().into()));
        assert!(own.eq(sent), "{entry}: {fields:?}");
        scene.after(&format!("{entry} {words:?}"), check).await;
    }
    assert!(wanted.is_empty(), "{wanted:?}");
    until("nothing is left", SOON, async || {
        let left: usize = scene.cluster.redis.get(&["XLEN", "fanfare:ingest"]).await;
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    scene.finish(25).await;
}
