//! Output of messages.

use fanfare_client::{Event, Message};
use serde_json::{Map, Value};

use crate::display::{moment, visible};

/// Returns a message as a JSON object.
pub(crate) fn json(message: &Message) -> Value {
    let mut object = Map::new();
    match message {
        Message::Event(event) => {
            let mut put = |name: &str, value: Option<&str>| {
                if let Some(value) = value {
                    object.insert(name.into(), value.into());
                }
            };
            put("channel", event.channel.as_deref());
            put("type", Some(&event.kind));
            put("id", event.id.as_deref());
            put("data", Some(&event.data));
            put("cursor", event.cursor.as_deref());
            if let Some(time) = event.time {
                object.insert("time".into(), time.into());
            }
        }
        Message::Control { kind, data } => {
            object.insert("control".into(), kind.as_str().into());
            if let Value::Object(data) = data {
                object.extend(data.clone());
            }
        }
    }
    object.into()
}

/// Formats an event as a line: time, channel, position, type, data.
pub(crate) fn line(event: &Event) -> String {
    let mut words = Vec::new();
    words.extend(event.time.map(moment));
    words.extend(event.channel.as_deref().map(|channel| visible(channel).into_owned()));
    // The format `raw` has only the stream's cursor.
    let position = if event.channel.is_some() { &event.id } else { &event.cursor };
    let position = position.as_deref().unwrap_or("-");
    words.push(visible(position).into_owned());
    words.push(visible(&event.kind).into_owned());
    words.push(visible(&event.data).into_owned());
    words.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>) -> Event {
        Event {
            channel: Some("room:7".into()),
            kind: "note".into(),
            id: id.map(Into::into),
            time: Some(5),
            data: "a\nb".into(),
            cursor: Some("aX".into()),
        }
    }

    #[test]
    fn an_event_is_shown_with_its_channel_and_position() {
        let stored = event(Some("5-1"));
        assert_eq!(line(&stored), "1970-01-01T00:00:00.005Z  room:7  5-1  note  a\n    b");
        assert_eq!(
            json(&Message::Event(stored)).to_string(),
            r#"{"channel":"room:7","type":"note","id":"5-1","data":"a\nb","cursor":"aX","time":5}"#
        );
        let ephemeral = line(&event(None));
        assert!(ephemeral.contains("  room:7  -  note  a"), "it has no position: {ephemeral}");
    }

    #[test]
    fn a_control_event_is_shown_by_its_type() {
        let data = serde_json::json!({"channel": "a", "after": "5-1"});
        let gap = Message::Control { kind: "gap".into(), data };
        assert_eq!(json(&gap).to_string(), r#"{"control":"gap","channel":"a","after":"5-1"}"#);
    }
}
