//! An entry of the ingest stream, which every publisher may write: no fields break the reader, their order does not matter,
//! and what was read says the same in JSON.

#![no_main]

use bytes::Bytes;
use fanfare_protocol::publish::{Body, BodyLimits, TimedPublication};
use libfuzzer_sys::fuzz_target;

/// The most data an event may have here, in bytes.
const LIMIT: usize = 1024;

// Names and values in turn, with a zero byte between them.
fuzz_target!(|entry: &[u8]| {
    let words: Vec<Bytes> = entry.split(|&byte| byte == 0).map(Bytes::copy_from_slice).collect();
    let mut fields: Vec<(Bytes, Bytes)> =
        words.as_chunks().0.iter().map(|[name, value]| (name.clone(), value.clone())).collect();
    let read = TimedPublication::from_fields(&fields, LIMIT);
    fields.reverse();
    let again = TimedPublication::from_fields(&fields, LIMIT);
    assert_eq!(read.is_ok(), again.is_ok(), "the order of the fields matters");
    let Ok(entry) = read else { return };
    assert_eq!(again.ok().as_ref(), Some(&entry));
    let publication = entry.publication;
    assert!(!publication.ephemeral && publication.event.data().len() <= LIMIT);
    let json = publication.to_json().to_string();
    match Body::parse(json.as_bytes(), BodyLimits { data: LIMIT, events: 1 }) {
        Ok(Body::One(Ok(back))) => assert_eq!(back.publications(), [publication], "{json}"),
        other => panic!("{json} reads back as {other:?}"),
    }
});
