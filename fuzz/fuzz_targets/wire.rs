//! What anybody may publish on a live wire: no message breaks the reader, and what was read is written and read
//! again as the same.

#![no_main]

use bytes::Bytes;
use fanfare_protocol::wire::Frame;
use libfuzzer_sys::fuzz_target;

/// The most data an event may have here, in bytes.
const LIMIT: usize = 1024;

fuzz_target!(|message: &[u8]| {
    let Ok(frame) = Frame::parse(&Bytes::copy_from_slice(message), LIMIT) else { return };
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
    assert_eq!(Frame::parse(&written, LIMIT).expect("what was written can be read"), frame);
});
