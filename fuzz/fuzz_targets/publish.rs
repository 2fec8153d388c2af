//! The body of `POST /v1/publish`: no bytes break the reader, no body has more events than allowed, and each item that was read
//! is written as JSON that reads back as the same.

#![no_main]

use fanfare_protocol::publish::{Body, BodyLimits, Item};
use libfuzzer_sys::fuzz_target;

/// The most data an event may have here, in bytes.
const LIMIT: usize = 1024;

const LIMITS: BodyLimits = BodyLimits { data: LIMIT, events: 100 };

fn reads_back(item: &Item) {
    let (first, others) = item.publications().split_first().expect("an item has an event");
    assert!(first.event.data().len() <= LIMIT);
    let others: Vec<_> = others.iter().map(|other| other.channel.clone()).collect();
    let json = match item {
        Item::One(publication) => publication.to_json(),
        Item::Each(_) => first.to_json_for(&others),
    };
    let json = json.to_string();
    match Body::parse(json.as_bytes(), LIMITS) {
        Ok(Body::One(Ok(back))) => assert_eq!(&back, item, "{json}"),
        other => panic!("{json} reads back as {other:?}"),
    }
}

fuzz_target!(|body: &[u8]| {
    if let Ok(body) = Body::parse(body, LIMITS) {
        assert!(body.events() <= LIMITS.events);
        body.items().iter().flatten().for_each(reads_back);
    }
});
