//! The body of `POST /v1/publish`: no bytes break the reader, and each publication that was read is written as
//! JSON that reads back as the same.

#![no_main]

use fanfare_protocol::publish::{Body, BodyLimits, Publication};
use libfuzzer_sys::fuzz_target;

/// The most data an event may have here, in bytes.
const LIMIT: usize = 1024;

const LIMITS: BodyLimits = BodyLimits { data: LIMIT, events: 100 };

fn reads_back(publication: &Publication) {
    assert!(publication.event.data().len() <= LIMIT);
    let json = publication.to_json().to_string();
    match Body::parse(json.as_bytes(), LIMITS) {
        Ok(Body::One(Ok(back))) => assert_eq!(&back, publication, "{json}"),
        other => panic!("{json} reads back as {other:?}"),
    }
}

fuzz_target!(|body: &[u8]| {
    match Body::parse(body, LIMITS) {
        Ok(Body::One(Ok(publication))) => reads_back(&publication),
        Ok(Body::Many(items)) => items.iter().flatten().for_each(reads_back),
        _ => {}
    }
});
