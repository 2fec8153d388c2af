//! What may be published on a channel's topics: no message breaks the reader, and what was read is written and read
//! again as the same. The first byte of the input chooses the topic.

#![no_main]

use bytes::Bytes;
use fanfare_protocol::wire::{Frame, Topic};
use libfuzzer_sys::fuzz_target;

/// The most data an event may have here, in bytes.
const LIMIT: usize = 1024;

fuzz_target!(|message: &[u8]| {
    // As the corpus has it: what the publish script sends begins with a digit.
    let topic = if message.first() == Some(&b'1') { Topic::Live } else { Topic::Ephemeral };
    let Ok(frame) = Frame::parse(topic, &Bytes::copy_from_slice(message), LIMIT) else { return };
    assert_eq!(frame.topic(), topic);
    let event = match &frame {
        Frame::Kept(entry) => {
            assert!(entry.previous < entry.position, "the order of a log");
            assert_eq!(frame.encode(), message, "a kept event has one text");
            &entry.event
        }
        Frame::Ephemeral(event) => event,
    };
    assert!(event.data().len() <= LIMIT);
    let written = Bytes::from(frame.encode());
    assert_eq!(Frame::parse(topic, &written, LIMIT).expect("what was written can be read"), frame);
});
