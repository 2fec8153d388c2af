//! Published events and control events of a stream.

use fanfare_protocol::event::CONTROL_TYPES;
use fanfare_protocol::json;
use fanfare_protocol::sse::Format;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;

/// A message of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// A published event.
    Event(Event),
    /// A control event, which is about the stream itself.
    Control {
        /// The event's type.
        kind: String,
        /// The event's data.
        data: Value,
    },
}

/// A published event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// Channel; `None` in [`Format::Raw`].
    pub channel: Option<String>,
    /// The event's type; `message` for an event without a type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Position in the channel; `None` in [`Format::Raw`], and for an ephemeral event.
    pub id: Option<String>,
    /// Unix milliseconds; `None` in [`Format::Raw`].
    pub time: Option<u64>,
    /// The event's data.
    pub data: String,
    /// Cursor of the stream after the event. An ephemeral event does not change it.
    #[serde(skip)]
    pub cursor: Option<String>,
}

/// A block of a stream with data, by the WHATWG HTML standard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The `event:` field; `None` for a plain message.
    pub(crate) kind: Option<String>,
    /// The `data:` lines.
    pub(crate) data: String,
    /// The `id:` field of the block itself.
    pub(crate) id: Option<String>,
}

impl Message {
    /// Parses a block.
    ///
    /// # Errors
    ///
    /// Fails if an envelope is malformed.
    pub(crate) fn read(block: Block, format: Format) -> Result<Self, Error> {
        let Block { kind, data, id } = block;
        let enveloped = format == Format::Json;
        if enveloped && kind.is_none() {
            let event: Event = json::object(&data).map_err(Error::Event)?;
            return Ok(Self::Event(Event { cursor: id, ..event }));
        }
        let kind = kind.unwrap_or_else(|| "message".to_owned());
        // In the format `json` only control events have a type; in `raw`, their types cannot be published.
        if enveloped || CONTROL_TYPES.contains(&kind.as_str()) {
            let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
            return Ok(Self::Control { kind, data });
        }
        Ok(Self::Event(Event { channel: None, kind, id: None, time: None, data, cursor: id }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: Option<&str>, data: &str, id: Option<&str>) -> Block {
        Block { kind: kind.map(Into::into), data: data.into(), id: id.map(Into::into) }
    }

    #[test]
    fn an_envelope_names_the_channel_and_the_position() {
        let data = r#"{"channel":"room:7","type":"note","id":"5-1","time":5,"data":"a\nb"}"#;
        let Message::Event(event) = Message::read(block(None, data, Some("aX")), Format::Json).unwrap()
        else {
            panic!("not an event")
        };
        let wanted = Event {
            channel: Some("room:7".into()),
            kind: "note".into(),
            id: Some("5-1".into()),
            time: Some(5),
            data: "a\nb".into(),
            cursor: Some("aX".into()),
        };
        assert_eq!(event, wanted);
    }

    #[test]
    fn control_events_are_distinguished_from_published_events() {
        let gap = block(Some("gap"), r#"{"channel":"a","after":"5-1"}"#, Some("aX"));
        let Message::Control { kind, data } = Message::read(gap, Format::Raw).unwrap() else {
            panic!("not a control event")
        };
        assert_eq!((kind.as_str(), &data["after"]), ("gap", &Value::from("5-1")));
        let ephemeral = block(None, r#"{"channel":"a","type":"typing","time":5,"data":"x"}"#, Some("aX"));
        let Message::Event(event) = Message::read(ephemeral, Format::Json).unwrap() else { panic!() };
        assert_eq!(event.id, None);
        let plain = block(None, "x", None);
        assert!(matches!(Message::read(plain, Format::Raw).unwrap(), Message::Event(_)));
        assert!(Message::read(block(None, "x", None), Format::Json).is_err());
    }
}
