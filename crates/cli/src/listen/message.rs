//! Messages of a stream.

use anyhow::Context;
use fanfare_protocol::event::CONTROL_TYPES;
use fanfare_protocol::json;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::event_source::Block;
use crate::line::{moment, visible};

/// A published event, or a control event.
#[derive(Debug)]
pub(crate) enum Message {
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
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    /// Channel; missing in the format `raw`.
    channel: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    /// Position in the channel; missing in the format `raw`, and for an ephemeral event.
    id: Option<String>,
    /// Unix milliseconds; missing in the format `raw`.
    time: Option<u64>,
    data: String,
    /// Cursor of the stream after the event. An ephemeral event does not change it.
    #[serde(skip)]
    cursor: Option<String>,
}

impl Message {
    /// Parses a message. `enveloped`: events are in JSON envelopes.
    ///
    /// # Errors
    ///
    /// Fails if an envelope is malformed.
    pub(crate) fn read(block: Block, enveloped: bool) -> anyhow::Result<Self> {
        let Block { kind, data, id } = block;
        if enveloped && kind.is_none() {
            let event: Event = json::object(&data).context("the server sent a malformed event")?;
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

    /// Returns the message as a JSON object.
    pub(crate) fn json(&self) -> Value {
        let mut object = Map::new();
        match self {
            Self::Event(event) => {
                let mut put = |name: &str, value: &Option<String>| {
                    if let Some(value) = value {
                        object.insert(name.into(), value.as_str().into());
                    }
                };
                put("channel", &event.channel);
                put("type", &Some(event.kind.clone()));
                put("id", &event.id);
                put("data", &Some(event.data.clone()));
                put("cursor", &event.cursor);
                if let Some(time) = event.time {
                    object.insert("time".into(), time.into());
                }
            }
            Self::Control { kind, data } => {
                object.insert("control".into(), kind.as_str().into());
                if let Value::Object(data) = data {
                    object.extend(data.clone());
                }
            }
        }
        object.into()
    }
}

impl Event {
    /// Formats the event as a line: time, channel, position, type, data.
    pub(crate) fn line(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.time.map(moment));
        words.extend(self.channel.as_deref().map(|channel| visible(channel).into_owned()));
        // The format `raw` has only the stream's cursor.
        let position = if self.channel.is_some() { &self.id } else { &self.cursor };
        let position = position.as_deref().unwrap_or("-");
        words.push(visible(position).into_owned());
        words.push(visible(&self.kind).into_owned());
        words.push(visible(&self.data).into_owned());
        words.join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: Option<&str>, data: &str, id: Option<&str>) -> Block {
        Block { kind: kind.map(Into::into), data: data.into(), id: id.map(Into::into) }
    }

    #[test]
    fn an_envelope_says_where_an_event_comes_from() {
        let data = r#"{"channel":"room:7","type":"note","id":"5-1","time":5,"data":"a\nb"}"#;
        let message = Message::read(block(None, data, Some("aX")), true).unwrap();
        assert_eq!(
            message.json().to_string(),
            r#"{"channel":"room:7","type":"note","id":"5-1","data":"a\nb","cursor":"aX","time":5}"#
        );
        let Message::Event(event) = message else { panic!() };
        assert_eq!(event.line(), "1970-01-01T00:00:00.005Z  room:7  5-1  note  a\n    b");
    }

    #[test]
    fn what_the_server_says_of_the_stream_is_told_apart_from_events() {
        let gap = block(Some("gap"), r#"{"channel":"a","after":"5-1"}"#, Some("aX"));
        assert_eq!(
            Message::read(gap, false).unwrap().json().to_string(),
            r#"{"control":"gap","channel":"a","after":"5-1"}"#
        );
        let ephemeral = block(None, r#"{"channel":"a","type":"typing","time":5,"data":"x"}"#, Some("aX"));
        let Message::Event(event) = Message::read(ephemeral, true).unwrap() else { panic!() };
        assert!(event.line().contains("  a  -  typing  x"), "it has no position: {}", event.line());
        let plain = block(None, "x", None);
        assert!(matches!(Message::read(plain, false).unwrap(), Message::Event(_)));
        assert!(Message::read(block(None, "x", None), true).is_err());
    }
}
