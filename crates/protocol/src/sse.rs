//! The text that a client receives, by the WHATWG HTML standard, section 9.2 (server-sent events).
//!
//! An event's *frame* (its `event:` and `data:` lines and the blank line) is the same for every client and
//! encoded once. Only the `id:` line before it may differ, since it carries a client's cursor.
//!
//! All clients parse the text in the same way, also those that deviate from the standard: each block has data, and an
//! `id:` as soon as the client has a cursor. Some libraries ignore the `id:` of a block without data, others deliver
//! such a block as an empty message, and some use each event's `id:` as their position and have none after an event
//! without `id:`.

use bytes::Bytes;
use serde::Serialize;

use crate::{Channel, Event, Position};

/// A heartbeat: a comment line. A blank line after it would dispatch a block without data.
pub const HEARTBEAT: &[u8] = b":\n";

/// Format in which a client receives events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `event:` is the type, `data:` the data verbatim.
    #[default]
    Raw,
    /// A plain message whose data is an envelope: `{"channel","type","id","time","data"}`.
    Json,
}

/// The envelope of [`Format::Json`].
#[derive(Serialize)]
struct Envelope<'a> {
    channel: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    time: u64,
    data: &'a str,
}

/// Returns an event's frame in a format. `time` is Unix milliseconds; an ephemeral event has no position.
pub fn frame(
    format: Format,
    channel: &Channel,
    event: &Event,
    position: Option<Position>,
    time: u64,
) -> Bytes {
    match format {
        Format::Raw => Block::new().event(event.kind_str()).data(event.data()),
        Format::Json => {
            let envelope = Envelope {
                channel: channel.as_str(),
                kind: event.kind.as_ref().map_or("message", |kind| kind.as_str()),
                id: position.map(|position| position.to_string()),
                time,
                data: event.data(),
            };
            // Serializing strings and numbers cannot fail.
            Block::new().data(&serde_json::to_string(&envelope).unwrap_or_default())
        }
    }
}

/// Builds one block of fields. [`Block::data`] completes it: there is no block without data.
#[derive(Debug, Default)]
pub struct Block(Vec<u8>);

impl Block {
    /// Creates an empty block.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `id:`. The text is a cursor, which never has CR, LF or NUL.
    #[must_use]
    pub fn id(mut self, cursor: &str) -> Self {
        self.field("id", cursor);
        self
    }

    /// Appends `retry:`, in milliseconds.
    #[must_use]
    pub fn retry(mut self, ms: u64) -> Self {
        self.field("retry", &ms.to_string());
        self
    }

    /// Appends `event:`, unless the type is empty.
    #[must_use]
    pub fn event(mut self, kind: &str) -> Self {
        if !kind.is_empty() {
            self.field("event", kind);
        }
        self
    }

    /// Returns the block's text: the fields so far, `data:` (each line ending in it, CR LF, LF or CR, starts another
    /// `data:` line), and the blank line that dispatches it.
    pub fn data(mut self, data: &str) -> Bytes {
        for line in lines(data) {
            self.field("data", line);
        }
        self.0.push(b'\n');
        self.0.into()
    }

    fn field(&mut self, name: &str, line: &str) {
        self.0.reserve(name.len() + line.len() + 3);
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(line.as_bytes());
        self.0.push(b'\n');
    }
}

/// Returns the lines of a text by the standard's three line endings; one more than there are endings.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\r', b'\n', text.as_bytes()) else {
            rest = None;
            return Some(text);
        };
        let ending = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + ending..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventType;
    use bytes::Bytes;
    use futures_util::{FutureExt, StreamExt, stream};
    use proptest::prelude::*;
    use sse_stream::{Sse, SseByteStream};

    /// Reads a text by an independent parser.
    fn read(text: &[u8]) -> Vec<Sse> {
        let pieces = [Ok::<_, std::convert::Infallible>(Bytes::copy_from_slice(text))];
        SseByteStream::new(stream::iter(pieces))
            .map(|block| block.expect("the text is UTF-8"))
            .collect::<Vec<_>>()
            .now_or_never()
            .expect("a stream of ready pieces is ready")
    }

    fn normal(data: &str) -> String {
        data.replace("\r\n", "\n").replace('\r', "\n")
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_as_the_one_event_it_was(
            kind in proptest::option::of("[^\r\n\0]{1,20}"),
            data in "(\\PC|\r|\n|\r\n|: |data: |id: 7\n|event: x\n){0,40}",
        ) {
            let Ok(kind) = kind.map(|kind| EventType::new(&kind)).transpose() else { return Ok(()) };
            let event = Event::new(kind, data, 4096).unwrap();
            let mut text = b"id: 5-1\n".to_vec();
            text.extend_from_slice(&frame(Format::Raw, &Channel::broadcast(), &event, None, 0));
            let got = read(&text);
            prop_assert_eq!(got.len(), 1);
            prop_assert_eq!(got[0].data.as_deref(), Some(&normal(event.data())[..]));
            prop_assert_eq!(got[0].id.as_deref(), Some("5-1"));
            prop_assert_eq!(got[0].event.as_deref(), event.kind.as_ref().map(EventType::as_str));
        }

        #[test]
        fn an_envelope_reads_back(data: String, kind in "[^\r\n\0]{1,20}") {
            let Ok(kind) = EventType::new(&kind) else { return Ok(()) };
            let event = Event::new(Some(kind.clone()), data.clone(), usize::MAX).unwrap();
            let channel = Channel::new("room:1").unwrap();
            let text = frame(Format::Json, &channel, &event, Some(Position::new(5, 1)), 5);
            let got = read(&text);
            prop_assert_eq!(got.len(), 1);
            let envelope: serde_json::Value = serde_json::from_str(got[0].data.as_deref().unwrap()).unwrap();
            prop_assert_eq!(envelope["data"].as_str(), Some(data.as_str()));
            prop_assert_eq!(envelope["type"].as_str(), Some(kind.as_str()));
            prop_assert_eq!(envelope["id"].as_str(), Some("5-1"));
            prop_assert_eq!(envelope["channel"].as_str(), Some("room:1"));
        }
    }

    #[test]
    fn each_line_ending_starts_another_data_line() {
        let text = Block::new().event("a").data("1\n2\r3\r\n4\n");
        assert_eq!(&text[..], b"event: a\ndata: 1\ndata: 2\ndata: 3\ndata: 4\ndata: \n\n");
    }

    #[test]
    fn empty_data_still_makes_an_event() {
        assert_eq!(&Block::new().data("")[..], b"data: \n\n");
    }

    #[test]
    fn fields_come_in_the_order_in_which_they_were_given() {
        let text = Block::new().id("5-1").retry(3000).event("connected").data("{}");
        assert_eq!(&text[..], b"id: 5-1\nretry: 3000\nevent: connected\ndata: {}\n\n");
    }

    #[test]
    fn a_heartbeat_ends_no_block() {
        let read = |text: &[u8]| read(text).into_iter().filter_map(|block| block.data).collect::<Vec<_>>();
        assert_eq!(read(&[HEARTBEAT, b"data: x\n\n"].concat()), ["x"]);
        assert!(!HEARTBEAT.ends_with(b"\n\n"));
    }
}
