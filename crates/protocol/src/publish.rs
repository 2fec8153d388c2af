//! The JSON a publisher sends: one event, or an array of them.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::channel::{Channel, ChannelError};
use crate::event::{Event, EventError, EventType};

/// The longest idempotency key, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// How much of a field's unknown name an error repeats, in characters.
const MAX_SHOWN: usize = 64;

/// One event on its way to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where it goes.
    pub channel: Channel,
    /// What goes.
    pub event: Event,
    /// The idempotency key: of several publications to a channel with one key, only the first is kept.
    pub key: Option<String>,
    /// Sent over the live wire only, and not kept.
    pub ephemeral: bool,
}

/// Why a publication is refused.
#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    /// Not the JSON meant: names the place or the field.
    #[error("not a publication: {0}")]
    Json(#[from] serde_json::Error),
    /// The channel's name is not one.
    #[error("channel: {0}")]
    Channel(#[from] ChannelError),
    /// The type or the data is not allowed.
    #[error("event: {0}")]
    Event(#[from] EventError),
    /// The data cannot be sent as text.
    #[error("data: {0}")]
    Data(#[from] DataError),
    /// The key is empty, too long, or has a control character.
    #[error("key: a key has 1 to {MAX_KEY_BYTES} bytes without control characters")]
    Key,
    /// A field that must be there is not.
    #[error("the field {0:?} is missing")]
    Missing(&'static str),
    /// A field that has no meaning.
    #[error("the field {0:?} is not known; fields are channel, type, data and key")]
    Unknown(String),
    /// A field that is there more than once.
    #[error("the field {0:?} is there twice")]
    Doubled(&'static str),
    /// A field whose bytes are not UTF-8.
    #[error("the field {0:?} is not UTF-8")]
    NotUtf8(&'static str),
    /// A key promises to store an event once; an ephemeral event is not stored.
    #[error("key: an ephemeral event is not kept, so it can have no key")]
    EphemeralKey,
}

/// JSON data that has no text.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Something in it cannot be read.
    #[error("the JSON cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// A publish body: each item is read on its own, so that one bad item does not hide the others.
#[derive(Debug)]
pub enum Body {
    /// A single object.
    One(Result<Publication, PublicationError>),
    /// An array.
    Many(Vec<Result<Publication, PublicationError>>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    channel: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    key: Option<String>,
    #[serde(default)]
    ephemeral: bool,
}

impl Body {
    /// Reads a body. `limit` is the most data one event may have, in bytes.
    ///
    /// # Errors
    ///
    /// When the whole is not JSON, or neither an object nor an array.
    pub fn parse(body: &[u8], limit: usize) -> Result<Self, serde_json::Error> {
        let array = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[');
        if array {
            let items: Vec<&RawValue> = serde_json::from_slice(body)?;
            Ok(Self::Many(items.iter().map(|item| Publication::parse(item, limit)).collect()))
        } else {
            let item: &RawValue = serde_json::from_slice(body)?;
            Ok(Self::One(Publication::parse(item, limit)))
        }
    }
}

impl Publication {
    fn parse(item: &RawValue, limit: usize) -> Result<Self, PublicationError> {
        let Fields { channel, kind, data, key, ephemeral } = serde_json::from_str(item.get())?;
        let kind = kind.as_deref().map(EventType::new).transpose()?;
        let event = Event::new(kind, data_text(data)?, limit)?;
        let publication = Self { channel: Channel::new(&channel)?, event, key, ephemeral };
        publication.check_key()?;
        Ok(publication)
    }

    /// Reads the fields of an entry of the ingest stream: `channel` and `data`, and if they are there `type` and
    /// `key`. An empty type is a plain message. `limit` is the most data an event may have, in bytes.
    ///
    /// # Errors
    ///
    /// When a field is missing, not known or there twice, or what it says is not allowed.
    pub fn from_fields(fields: &[(Bytes, Bytes)], limit: usize) -> Result<Self, PublicationError> {
        const NAMES: [&str; 4] = ["channel", "type", "data", "key"];
        let mut found: [Option<&Bytes>; 4] = [None; 4];
        for (name, value) in fields {
            let Some(at) = NAMES.iter().position(|known| known.as_bytes() == &name[..]) else {
                let name = String::from_utf8_lossy(name);
                return Err(PublicationError::Unknown(name.chars().take(MAX_SHOWN).collect()));
            };
            if found[at].replace(value).is_some() {
                return Err(PublicationError::Doubled(NAMES[at]));
            }
        }
        let [channel, kind, data, key] = found;
        let utf8 = |name, bytes| std::str::from_utf8(bytes).map_err(|_| PublicationError::NotUtf8(name));
        let channel = utf8("channel", channel.ok_or(PublicationError::Missing("channel"))?)?;
        let data = data.ok_or(PublicationError::Missing("data"))?;
        let event = Event::from_bytes(kind.map_or(&[], |kind| &kind[..]), data.clone(), limit)?;
        let key = key.map(|key| utf8("key", key).map(str::to_owned)).transpose()?;
        let publication = Self { channel: Channel::new(channel)?, event, key, ephemeral: false };
        publication.check_key()?;
        Ok(publication)
    }

    /// Checks the idempotency key that a publisher gave, by whichever way.
    ///
    /// # Errors
    ///
    /// When the key is not allowed, or not for an ephemeral event.
    pub fn check_key(&self) -> Result<(), PublicationError> {
        match &self.key {
            Some(_) if self.ephemeral => Err(PublicationError::EphemeralKey),
            Some(key) if key.is_empty() || key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) => {
                Err(PublicationError::Key)
            }
            _ => Ok(()),
        }
    }

    /// The JSON that reads back as this publication.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        object.insert("channel".into(), self.channel.as_str().into());
        if let Some(kind) = &self.event.kind {
            object.insert("type".into(), kind.as_str().into());
        }
        object.insert("data".into(), self.event.data().into());
        if let Some(key) = &self.key {
            object.insert("key".into(), key.as_str().into());
        }
        if self.ephemeral {
            object.insert("ephemeral".into(), true.into());
        }
        object.into()
    }
}

/// The text that JSON data stands for: a string verbatim, anything else as compact JSON.
///
/// # Errors
///
/// When the value cannot be read, as with a lone surrogate in a string or nesting beyond 128 levels.
pub(crate) fn data_text(data: &RawValue) -> Result<String, DataError> {
    Ok(match serde_json::from_str(data.get())? {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 4096;

    fn one(json: &str) -> Result<Publication, String> {
        match Body::parse(json.as_bytes(), LIMIT).map_err(|e| e.to_string())? {
            Body::One(result) => result.map_err(|e| e.to_string()),
            Body::Many(_) => Err("an array".into()),
        }
    }

    fn field(name: &str, value: &str) -> (Bytes, Bytes) {
        (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
    }

    proptest! {
        #[test]
        fn a_publication_reads_back(
            channel in "[a-z:]{1,20}", kind in proptest::option::of("[^\r\n\0]{1,20}"),
            data: String, key in proptest::option::of("[a-z0-9-]{1,20}"), ephemeral: bool
        ) {
            let Ok(kind) = kind.map(|kind| EventType::new(&kind)).transpose() else { return Ok(()) };
            let publication = Publication {
                channel: Channel::new(&channel).unwrap(),
                event: Event::new(kind, data, LIMIT * 4).unwrap(),
                key: key.filter(|_| !ephemeral),
                ephemeral,
            };
            let json = publication.to_json().to_string();
            let Ok(Body::One(Ok(back))) = Body::parse(json.as_bytes(), LIMIT * 4) else { panic!("{json}") };
            prop_assert_eq!(back, publication);
        }

        #[test]
        fn the_fields_of_an_entry_read_back(
            channel in "[a-z:]{1,20}", kind in proptest::option::of("[^\r\n\0]{0,20}"),
            data: String, key in proptest::option::of("[a-z0-9-]{1,20}"), turn in 0usize..4
        ) {
            let reserved = kind.as_deref().is_some_and(|kind| !kind.is_empty() && EventType::new(kind).is_err());
            let mut fields = vec![field("channel", &channel), field("data", &data)];
            fields.extend(kind.iter().map(|kind| field("type", kind)));
            fields.extend(key.iter().map(|key| field("key", key)));
            let turn = turn % fields.len();
            fields.rotate_left(turn);
            let read = Publication::from_fields(&fields, LIMIT * 4);
            prop_assert_eq!(read.is_err(), reserved);
            if let Ok(read) = read {
                prop_assert_eq!(read.channel.as_str(), channel);
                prop_assert_eq!(read.event.kind_str(), kind.unwrap_or_default());
                prop_assert_eq!(read.event.data(), data);
                prop_assert_eq!((read.key, read.ephemeral), (key, false));
            }
        }

        #[test]
        fn no_fields_break_the_reader(fields: Vec<(Vec<u8>, Vec<u8>)>) {
            let fields: Vec<(Bytes, Bytes)> = fields.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
            prop_assert_eq!(Publication::from_fields(&fields, LIMIT).is_ok(), false);
        }

        #[test]
        fn no_body_breaks_the_reader(body: Vec<u8>) {
            let _ = Body::parse(&body, LIMIT);
        }
    }

    #[test]
    fn what_is_wrong_with_fields_is_said() {
        let good = [("channel", "a"), ("data", "x")];
        let with = |name, value| {
            let mut fields = good.map(|(name, value)| field(name, value)).to_vec();
            fields.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
            fields
        };
        for (fields, word) in [
            (vec![], "\"channel\" is missing"),
            (vec![field("data", "x")], "\"channel\" is missing"),
            (vec![field("channel", "a")], "\"data\" is missing"),
            (with(b"colour", b"red"), "\"colour\" is not known"),
            (with(b"Type", b"t"), "\"Type\" is not known"),
            (with(b"\xff", b""), "is not known"),
            (with(b"ephemeral", b"1"), "is not known"),
            (with(b"data", b"y"), "\"data\" is there twice"),
            (with(b"channel", b"a"), "\"channel\" is there twice"),
            (with(b"type", b"a\nb"), "LF"),
            (with(b"type", b"\xff"), "the event type is not UTF-8"),
            (with(b"type", b"shutdown"), "reserved"),
            (with(b"key", b""), "key"),
            (with(b"key", b"\xff"), "\"key\" is not UTF-8"),
            (vec![field("channel", "a b"), field("data", "x")], "' '"),
            (vec![field("channel", ""), field("data", "x")], "empty"),
            (
                vec![(Bytes::from_static(b"channel"), Bytes::from_static(b"\xff")), field("data", "")],
                "not UTF-8",
            ),
            (
                vec![field("channel", "a"), (Bytes::from_static(b"data"), Bytes::from_static(b"ab\xff"))],
                "byte 2",
            ),
            (vec![field("channel", "a"), field("data", &"x".repeat(LIMIT + 1))], "4097 bytes"),
        ] {
            let error = Publication::from_fields(&fields, LIMIT).expect_err(word).to_string();
            assert!(error.contains(word), "{error} has no {word}");
        }
        let long = Bytes::from("x".repeat(100_000));
        let error = Publication::from_fields(&[(long.clone(), long)], LIMIT).unwrap_err();
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn data_is_a_string_verbatim_or_any_json_compact() {
        let data =
            |json: &str| one(&format!(r#"{{"channel":"a","data":{json}}}"#)).unwrap().event.data().to_owned();
        assert_eq!(data(r#""a\nb""#), "a\nb");
        assert_eq!(
            data(r#"{ "b": 1, "a": [ 1.50, 12345678901234567890123 ] }"#),
            r#"{"b":1,"a":[1.50,12345678901234567890123]}"#
        );
        assert_eq!(data("null"), "null");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, word) in [
            (r#"{"channel":"a"}"#, "data"),
            (r#"{"data":1}"#, "channel"),
            (r#"{"channel":"a","data":1,"colour":2}"#, "colour"),
            (r#"{"channel":"a b","data":1}"#, "' '"),
            (r#"{"channel":"a","data":1,"type":""}"#, "leave it out"),
            (r#"{"channel":"a","data":1,"type":"x\ny"}"#, "LF"),
            (r#"{"channel":"a","data":1,"type":"gap"}"#, "reserved"),
            (r#"{"channel":"a","data":1,"key":""}"#, "key"),
            (r#"{"channel":"a","data":1,"key":"k","ephemeral":true}"#, "ephemeral"),
            (r#"{"channel":"a","data":"\ud800"}"#, "data"),
            (r#""text""#, "not a publication"),
            ("{", "EOF"),
        ] {
            let error = one(json).expect_err(json);
            assert!(error.contains(word), "{json}: {error}");
        }
    }

    #[test]
    fn a_bad_item_does_not_hide_the_others() {
        let body = br#" [{"channel":"a","data":1}, 7, {"channel":"b","data":2}]"#;
        let Ok(Body::Many(items)) = Body::parse(body, LIMIT) else { panic!() };
        assert_eq!(items.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }
}
