//! Whatever a publisher sends reaches the client as exactly one event with the same type and data, by a parser
//! that is not ours; nothing in it becomes another field or another event.

#![no_main]

use bytes::Bytes;
use fanfare_protocol::sse::{Format, frame};
use fanfare_protocol::{Channel, Event, EventType, Position};
use futures_util::{FutureExt, StreamExt, stream};
use libfuzzer_sys::fuzz_target;
use sse_stream::{Sse, SseByteStream};

/// The blocks that a client sees, given the text in two pieces.
fn read(text: &Bytes, cut: usize) -> Vec<Sse> {
    let cut = cut % (text.len() + 1);
    let pieces = [Ok::<_, std::io::Error>(text.slice(..cut)), Ok(text.slice(cut..))];
    SseByteStream::new(stream::iter(pieces))
        .map(|block| block.expect("the text is UTF-8"))
        .collect::<Vec<_>>()
        .now_or_never()
        .expect("the pieces are all there")
}

fuzz_target!(|input: (u16, &str, &str)| {
    let (cut, kind, data) = input;
    let kind = match EventType::new(kind) {
        Ok(kind) => Some(kind),
        Err(_) if kind.is_empty() => None,
        Err(_) => return,
    };
    let Ok(event) = Event::new(kind.clone(), data.to_owned(), usize::MAX) else { return };
    let channel = Channel::broadcast();
    let position = Position::new(5, u64::from(cut));

    let raw = read(&frame(Format::Raw, &channel, &event, Some(position), 5), cut.into());
    let plain = data.replace("\r\n", "\n").replace('\r', "\n");
    let wanted = Sse {
        event: kind.as_ref().map(|kind| kind.as_str().to_owned()),
        data: Some(plain),
        id: None,
        retry: None,
    };
    assert_eq!(raw, [wanted]);

    let json = read(&frame(Format::Json, &channel, &event, Some(position), 5), cut.into());
    let [Sse { event: None, data: Some(envelope), id: None, retry: None }] = json.as_slice() else {
        panic!("not one plain message: {json:?}");
    };
    let envelope: serde_json::Value = serde_json::from_str(envelope).expect("an envelope is JSON");
    assert_eq!(envelope["data"], data);
    assert_eq!(envelope["type"], kind.as_ref().map_or("message", EventType::as_str));
    assert_eq!(envelope["id"], position.to_string());
});
