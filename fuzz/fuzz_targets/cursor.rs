//! What a client sends as `Last-Event-ID` or `after=`: no text breaks the reader, and what was read is written
//! and read again as the same.

#![no_main]

use fanfare_protocol::{Cursor, Position, Start};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = Cursor::parse(text) {
        let written = cursor.to_string();
        assert_eq!(Cursor::parse(&written).as_ref(), Ok(&cursor), "{text:?} is written as {written:?}");
        assert!(written.len() <= text.len(), "the canonical text {written:?} is longer than {text:?}");
        assert!(written.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{written:?}");
        // A start takes every cursor, and takes it for the same.
        assert_eq!(Start::parse(text), Ok(Start::Cursor(cursor)));
    }
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text, "a position has one text");
    }
    let _ = Start::parse(text);
});
