//! What is published: an event and where it goes, in the body of a publish request or in an entry of the ingest stream.

mod body;

use bytes::Bytes;
use serde_json::value::RawValue;

pub use self::body::{Body, BodyError, BodyLimits, Item};

use crate::TraceParent;
use crate::channel::{Channel, ChannelError, INTERNAL_PREFIX};
use crate::event::{Event, EventError};
use crate::except::ExceptError;
use crate::json::{self, TooDeep};

/// Maximum length of an idempotency key, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// Maximum length of an unknown field's name in an error, in characters.
const MAX_SHOWN: usize = 64;

/// An event to be published to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The channel.
    pub channel: Channel,
    /// The event.
    pub event: Event,
    /// Idempotency key: of several publications to a channel with the same key, only the first is stored.
    pub key: Option<String>,
    /// Whether the event is delivered to current subscribers only, and not stored.
    pub ephemeral: bool,
}

/// Why a publication is invalid.
#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    /// Not JSON of the expected form: the field, and what is wrong with it.
    #[error("invalid publication: {0}")]
    Json(String),
    /// The channel name is invalid.
    #[error("channel: {0}")]
    Channel(#[from] ChannelError),
    /// One of the names in `channels` is invalid.
    #[error("channels[{index}]: {error}")]
    ChannelAt {
        /// Its index, from 0.
        index: usize,
        /// What is wrong with it.
        error: ChannelError,
    },
    /// A channel that comes twice in `channels`, by the index of the second.
    #[error("channels[{0}]: the channel is in the list twice")]
    RepeatedChannel(usize),
    /// No channel in `channels`.
    #[error("channels: the list is empty")]
    NoChannel,
    /// Both `channel` and `channels`.
    #[error("channels: give either channel or channels")]
    TwoForms,
    /// A channel to which only nodes publish.
    #[error("channel: only nodes publish to channels that begin with {INTERNAL_PREFIX:?}")]
    Internal,
    /// The type or the data is not allowed.
    #[error("event: {0}")]
    Event(#[from] EventError),
    /// The data cannot be sent as text.
    #[error("data: {0}")]
    Data(#[from] DataError),
    /// The text names no session.
    #[error("except: {0}")]
    Except(#[from] ExceptError),
    /// The key is empty, too long, or has a control character.
    #[error("key: it must have 1 to {MAX_KEY_BYTES} bytes without control characters")]
    Key,
    /// A required field is missing.
    #[error("the field {0:?} is missing")]
    Missing(&'static str),
    /// An unknown field.
    #[error("unknown field {0:?}; fields are channel, type, data, key, until, except and traceparent")]
    Unknown(String),
    /// A field that is present more than once.
    #[error("the field {0:?} is present twice")]
    Doubled(&'static str),
    /// A field whose bytes are not UTF-8.
    #[error("the field {0:?} is not UTF-8")]
    NotUtf8(&'static str),
    /// A time that is not a number of milliseconds.
    #[error("until: it must be a time in Unix milliseconds, in digits")]
    Until,
    /// An ephemeral event with an idempotency key, although it is not stored.
    #[error("key: an ephemeral event is not stored and cannot have a key")]
    EphemeralKey,
}

/// Why JSON data cannot be sent as text.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A string that cannot be encoded as UTF-8. (Within an object or an array it passes unchanged.)
    #[error("the string has no UTF-8 text: {}", json::reason(.0))]
    Text(#[from] serde_json::Error),
    /// Arrays and objects nested too deep.
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
}

/// A publication from the ingest stream, with the time after which it is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedPublication {
    /// The publication.
    pub publication: Publication,
    /// The last moment at which it may be published, in Unix milliseconds.
    pub until: Option<u64>,
}

impl From<Publication> for TimedPublication {
    fn from(publication: Publication) -> Self {
        Self { publication, until: None }
    }
}

impl TimedPublication {
    /// Parses the fields of an entry of the ingest stream: `channel` and `data`, and optionally `type`, `key`, `until`, `except`
    /// and `traceparent`. An empty type is a plain message, and a malformed `traceparent` is ignored. `limit` is the maximum size of an event's data, in bytes.
    ///
    /// # Errors
    ///
    /// Fails if a field is missing, not known or there twice, or what it says is not allowed.
    pub fn from_fields(fields: &[(Bytes, Bytes)], limit: usize) -> Result<Self, PublicationError> {
        const NAMES: [&str; 7] = ["channel", "type", "data", "key", "until", "except", "traceparent"];
        let mut found: [Option<&Bytes>; 7] = [None; 7];
        for (name, value) in fields {
            let Some(at) = NAMES.iter().position(|known| known.as_bytes() == &name[..]) else {
                let name = String::from_utf8_lossy(name);
                return Err(PublicationError::Unknown(name.chars().take(MAX_SHOWN).collect()));
            };
            if found[at].replace(value).is_some() {
                return Err(PublicationError::Doubled(NAMES[at]));
            }
        }
        let [channel, kind, data, key, until, except, trace] = found;
        let utf8 = |name, bytes| std::str::from_utf8(bytes).map_err(|_| PublicationError::NotUtf8(name));
        let channel = Channel::new(utf8("channel", channel.ok_or(PublicationError::Missing("channel"))?)?)?;
        if channel.is_internal() {
            return Err(PublicationError::Internal);
        }
        let data = data.ok_or(PublicationError::Missing("data"))?;
        let event = Event::from_bytes(kind.map_or(&[], |kind| &kind[..]), data.clone(), limit)?;
        let except = except.map(|except| utf8("except", except)).transpose()?;
        let event = event.except(except.map(str::parse).transpose()?);
        let event = event.traced(trace.and_then(|trace| TraceParent::parse(trace)));
        let key = key.map(|key| utf8("key", key).map(str::to_owned)).transpose()?;
        let publication = Publication { channel, event, key, ephemeral: false };
        publication.check_key()?;
        let until = until.map(|until| milliseconds(until).ok_or(PublicationError::Until)).transpose()?;
        Ok(Self { publication, until })
    }
}

/// Parses digits alone: a sign is an error.
fn milliseconds(text: &[u8]) -> Option<u64> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

impl Publication {
    /// Checks the idempotency key.
    ///
    /// # Errors
    ///
    /// Fails if the key is invalid, or if the event is ephemeral and has a key.
    pub fn check_key(&self) -> Result<(), PublicationError> {
        check_key(self.key.as_deref(), self.ephemeral)
    }

    /// Returns the publication as JSON for its channel and others, which parses as [`Item::Each`].
    pub fn to_json_for(&self, others: &[Channel]) -> serde_json::Value {
        let mut json = self.to_json();
        if let Some(object) = json.as_object_mut()
            && let Some(channel) = object.remove("channel")
        {
            let others = others.iter().map(|other| other.as_str().into());
            let channels: Vec<serde_json::Value> = std::iter::once(channel).chain(others).collect();
            object.insert("channels".into(), channels.into());
        }
        json
    }

    /// Returns the publication as JSON, which parses as the same publication.
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
        if let Some(except) = self.event.excepted() {
            object.insert("except".into(), except.to_string().into());
        }
        if let Some(trace) = self.event.trace() {
            object.insert("traceparent".into(), trace.to_string().into());
        }
        object.into()
    }
}

fn check_key(key: Option<&str>, ephemeral: bool) -> Result<(), PublicationError> {
    match key {
        Some(_) if ephemeral => Err(PublicationError::EphemeralKey),
        Some(key) if key.is_empty() || key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) => {
            Err(PublicationError::Key)
        }
        _ => Ok(()),
    }
}

/// Returns the text that JSON data stands for: of a string its characters, of anything else the JSON as it was sent,
/// but for white space between its tokens.
///
/// # Errors
///
/// Fails if a string has a lone surrogate, or a value is nested beyond [`json::MAX_DEPTH`].
pub(crate) fn data_text(data: &RawValue) -> Result<String, DataError> {
    if data.get().starts_with('"') {
        return Ok(serde_json::from_str(data.get())?);
    }
    Ok(json::compact(data)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;
    use proptest::prelude::*;

    const LIMIT: usize = 4096;

    const LIMITS: BodyLimits = BodyLimits { data: 4 * LIMIT, events: 3 };

    fn one(json: &str) -> Result<Publication, String> {
        match Body::parse(json.as_bytes(), LIMITS).map_err(|e| e.to_string())? {
            Body::One(Ok(Item::One(publication))) => Ok(publication),
            Body::One(Ok(Item::Each(_))) => Err("several channels".into()),
            Body::One(Err(error)) => Err(error.to_string()),
            Body::Many(_) => Err("an array".into()),
        }
    }

    fn except() -> crate::Except {
        "al/ice/0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11".parse().unwrap()
    }

    fn trace() -> TraceParent {
        TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap()
    }

    fn field(name: &str, value: &str) -> (Bytes, Bytes) {
        (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
    }

    proptest! {
        #[test]
        fn a_publication_reads_back(
            channel in "[a-z:]{1,20}", kind in proptest::option::of("[^\r\n\0]{1,20}"),
            data: String, key in proptest::option::of("[a-z0-9-]{1,20}"), ephemeral: bool, excepts: bool,
            traced: bool
        ) {
            let Ok(kind) = kind.map(|kind| EventType::new(&kind)).transpose() else { return Ok(()) };
            let publication = Publication {
                channel: Channel::new(&channel).unwrap(),
                event: Event::new(kind, data, LIMIT * 4).unwrap().except(excepts.then(except)).traced(traced.then(trace)),
                key: key.filter(|_| !ephemeral),
                ephemeral,
            };
            let json = publication.to_json().to_string();
            let Ok(Body::One(Ok(Item::One(back)))) = Body::parse(json.as_bytes(), LIMITS) else { panic!("{json}") };
            prop_assert_eq!(back, publication);
        }

        #[test]
        fn the_fields_of_an_entry_read_back(
            channel in "[a-z:]{1,20}", kind in proptest::option::of("[^\r\n\0]{0,20}"),
            data: String, key in proptest::option::of("[a-z0-9-]{1,20}"), until: Option<u64>, turn in 0usize..7, excepts: bool,
            traced: bool
        ) {
            let reserved = kind.as_deref().is_some_and(|kind| !kind.is_empty() && EventType::new(kind).is_err());
            let mut fields = vec![field("channel", &channel), field("data", &data)];
            fields.extend(kind.iter().map(|kind| field("type", kind)));
            fields.extend(key.iter().map(|key| field("key", key)));
            fields.extend(until.iter().map(|until| field("until", &until.to_string())));
            fields.extend(excepts.then(|| field("except", &except().to_string())));
            fields.extend(traced.then(|| field("traceparent", &trace().to_string())));
            let turn = turn % fields.len();
            fields.rotate_left(turn);
            let read = TimedPublication::from_fields(&fields, LIMIT * 4);
            prop_assert_eq!(read.is_err(), reserved);
            if let Ok(TimedPublication { publication: read, until: read_until }) = read {
                prop_assert_eq!(read_until, until);
                prop_assert_eq!(read.channel.as_str(), channel);
                prop_assert_eq!(read.event.kind_str(), kind.unwrap_or_default());
                prop_assert_eq!(read.event.data(), data);
                let wanted = excepts.then(except);
                prop_assert_eq!(read.event.excepted(), wanted.as_ref());
                prop_assert_eq!(read.event.trace().copied(), traced.then(trace));
                prop_assert_eq!((read.key, read.ephemeral), (key, false));
            }
        }

        #[test]
        fn no_fields_break_the_reader(fields: Vec<(Vec<u8>, Vec<u8>)>) {
            let fields: Vec<(Bytes, Bytes)> = fields.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
            prop_assert_eq!(TimedPublication::from_fields(&fields, LIMIT).is_ok(), false);
        }

        #[test]
        fn no_body_breaks_the_reader(body: Vec<u8>) {
            let _ = Body::parse(&body, LIMITS);
        }
    }

    #[test]
    fn a_malformed_trace_is_ignored_and_is_no_reason_to_refuse_an_event() {
        let event = one(r#"{"channel":"c","data":"d","traceparent":"00-x"}"#).unwrap().event;
        assert_eq!((event.data(), event.trace()), ("d", None));
        let fields = [field("channel", "c"), field("data", "d"), field("traceparent", "\u{e9}")];
        let read = TimedPublication::from_fields(&fields, LIMIT).unwrap();
        assert_eq!(read.publication.event.trace(), None);
    }

    #[test]
    fn an_event_for_several_channels_is_one_for_each_with_the_same_data() {
        let json = r#"{"channels":["b","a"],"type":"t","data":{"x": 1},"key":"k"}"#;
        let body = Body::parse(json.as_bytes(), LIMITS).unwrap();
        let [Ok(Item::Each(each))] = body.items() else { panic!("{body:?}") };
        let with =
            |channel| one(&format!(r#"{{"channel":"{channel}","type":"t","data":{{"x":1}},"key":"k"}}"#));
        assert_eq!(each[..], [with("b").unwrap(), with("a").unwrap()]);
        assert_eq!(each[0].event.data().as_ptr(), each[1].event.data().as_ptr(), "the data is not copied");
        assert_eq!((body.events(), body.repeated_bytes()), (2, r#"{"x":1}"#.len()));
        assert!(body.repeated_memory() >= size_of::<Publication>() + "a".len() + "k".len());
    }

    #[test]
    fn a_list_of_channels_is_refused_as_a_whole_with_the_index() {
        for (channels, word) in [
            ("[]", "channels: the list is empty"),
            (r#""a""#, "channels: expected an array of strings"),
            (r#"["a",7]"#, "channels[1]: expected a string"),
            (r#"["a","b c"]"#, "channels[1]: "),
            (r#"["a","b","a"]"#, "channels[2]: the channel is in the list twice"),
        ] {
            let error = one(&format!(r#"{{"channels":{channels},"data":1}}"#)).unwrap_err();
            assert!(error.contains(word), "{channels}: {error}");
        }
        assert!(one(r#"{"channel":"a","channels":["b"],"data":1}"#).unwrap_err().contains("either"));
        assert!(
            one(r#"{"channels":["a"],"data":1,"ephemeral":true,"key":"k"}"#)
                .unwrap_err()
                .contains("ephemeral")
        );
    }

    #[test]
    fn each_channel_counts_as_an_event_of_the_batch() {
        let parse = |json: &str| Body::parse(json.as_bytes(), LIMITS).map(|body| body.events());
        let too_many = |got| Err(format!("the batch has {got} events; at most 3 are allowed"));
        let shown = |json: &str| parse(json).map_err(|error| error.to_string());
        assert_eq!(shown(r#"{"channels":["a","b","c"],"data":1}"#), Ok(3));
        assert_eq!(shown(r#"{"channels":["a","b","c","d"],"data":1}"#), too_many(4));
        assert_eq!(shown(r#"[{"channels":["a","b"],"data":1},7]"#), Ok(3));
        assert_eq!(
            shown(r#"[{"channels":["a","b"],"data":1},{"channels":["a","b"],"data":1}]"#),
            too_many(4)
        );
        assert_eq!(shown(r#"[{"channels":["a","b","c"],"data":1},{"channel":"a","data":1},7]"#), too_many(5));
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
            (with(b"colour", b"red"), "unknown field \"colour\""),
            (with(b"Type", b"t"), "unknown field \"Type\""),
            (with(b"\xff", b""), "unknown field"),
            (with(b"ephemeral", b"1"), "unknown field"),
            (with(b"data", b"y"), "\"data\" is present twice"),
            (with(b"channel", b"a"), "\"channel\" is present twice"),
            (with(b"type", b"a\nb"), "LF"),
            (with(b"type", b"\xff"), "the event type is not UTF-8"),
            (with(b"type", b"shutdown"), "reserved"),
            (with(b"key", b""), "key"),
            (with(b"until", b""), "until: it must be a time in Unix milliseconds"),
            (with(b"until", b"+1"), "until: "),
            (with(b"until", b"1.5"), "until: "),
            (with(b"until", b"18446744073709551616"), "until: "),
            (with(b"key", b"\xff"), "\"key\" is not UTF-8"),
            (with(b"except", b""), "except: a session id must be a UUID"),
            (with(b"except", b"\xff"), "\"except\" is not UTF-8"),
            (with(b"except", b"alice/1"), "it must be <user>/<session>"),
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
            let error = TimedPublication::from_fields(&fields, LIMIT).expect_err(word).to_string();
            assert!(error.contains(word), "{error} has no {word}");
        }
        let long = Bytes::from("x".repeat(100_000));
        let error = TimedPublication::from_fields(&[(long.clone(), long)], LIMIT).unwrap_err();
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn data_is_a_string_verbatim_or_json_as_it_was_sent() {
        let data =
            |json: &str| one(&format!(r#"{{"channel":"a","data":{json}}}"#)).unwrap().event.data().to_owned();
        assert_eq!(data(r#""a\nb\u0041""#), "a\nbA");
        assert_eq!(
            data(r#"{ "b": 1, "a": [ 1.50, 12345678901234567890123 ] }"#),
            r#"{"b":1,"a":[1.50,12345678901234567890123]}"#
        );
        for verbatim in [
            "null",
            "1E5",
            r#"{"a":1,"a":2}"#,
            r#"{"a":"\u0041\ud800"}"#,
            r#"{"$serde_json::private::Number":"42"}"#,
            r#"{"$serde_json::private::RawValue":"{\"admin\":true}"}"#,
        ] {
            assert_eq!(data(verbatim), verbatim);
        }
    }

    #[test]
    fn an_array_is_not_a_publication_by_place() {
        let by_place = r#"["user:7","note","by place",null,false]"#;
        let error = one(&format!("[{by_place}]")).unwrap_err();
        assert_eq!(error, "an array", "an array of one item");
        let Ok(Body::Many(items)) = Body::parse(format!("[{by_place}]").as_bytes(), LIMITS) else { panic!() };
        let error = items[0].as_ref().unwrap_err().to_string();
        assert!(error.contains("invalid type: sequence, expected an object with channel"), "{error}");
    }

    #[test]
    fn the_items_beyond_the_limit_are_counted_and_not_kept() {
        let body = format!("[{}]", vec!["0"; 100_000].join(","));
        let error = Body::parse(body.as_bytes(), LIMITS).unwrap_err().to_string();
        assert_eq!(error, "the batch has 100000 events; at most 3 are allowed");
        assert!(Body::parse(b"[0,0,0,0,", LIMITS).unwrap_err().to_string().contains("EOF"));
    }

    #[test]
    fn what_is_no_json_text_is_named() {
        let error = |body: &[u8]| Body::parse(body, LIMITS).unwrap_err().to_string();
        assert!(error(b"\xef\xbb\xbf{\"channel\":\"a\",\"data\":1}").contains("byte order mark"));
        assert!(error(b"\xff\xfe{\0").contains("UTF-16"));
        assert!(error(b"{\"channel\":\"\xff").contains("not UTF-8 at byte 12"));
        let long = format!(r#"{{"{}":1}}"#, "x".repeat(1_000_000));
        assert!(one(&long).unwrap_err().len() < 1000);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, word) in [
            (r#"{"channel":"a"}"#, "data"),
            (r#"{"data":1}"#, "channel"),
            (r#"{"channel":"a","data":1,"colour":2}"#, "colour"),
            (r#"{"channel":"a b","data":1}"#, "' '"),
            (r#"{"channel":"a","data":1,"type":""}"#, "omit it"),
            (r#"{"channel":"a","data":1,"type":"x\ny"}"#, "LF"),
            (r#"{"channel":"a","data":1,"type":"gap"}"#, "reserved"),
            (r#"{"channel":"a","data":1,"key":""}"#, "key"),
            (r#"{"channel":"a","data":1,"key":"k","ephemeral":true}"#, "ephemeral"),
            (r#"{"channel":"a","data":"\ud800"}"#, "data: the string has no UTF-8 text"),
            (
                r#""text""#,
                "invalid publication: invalid type: string \"text\", expected an object with channel",
            ),
            (
                r#"{"channel":5,"data":1}"#,
                "publication: channel: invalid type: integer `5`, expected a string",
            ),
            (r#"{"channel":"a","data":1,"type":[]}"#, "type: invalid type: sequence"),
            (r#"{"channel":"a","data":1,"ephemeral":"yes"}"#, "ephemeral: invalid type"),
            (r#"{"channel":"a","data":1,"data":2}"#, "duplicate field `data`"),
            ("{", "EOF"),
        ] {
            let error = one(json).expect_err(json);
            assert!(error.contains(word), "{json}: {error}");
        }
    }

    #[test]
    fn an_error_of_an_item_has_no_place_which_would_be_that_in_the_item() {
        for json in [r#"{"channel":5,"data":1}"#, r#"{"channel":"a","data":"\ud800"}"#, "7"] {
            let error = one(json).unwrap_err();
            assert!(!error.contains("column"), "{error}");
        }
    }

    #[test]
    fn null_is_an_absent_member() {
        let json = r#"{"channel":"a","type":null,"key":null,"ephemeral":null,"data":null}"#;
        let publication = one(json).unwrap();
        assert_eq!((publication.event.kind.is_none(), publication.event.data()), (true, "null"));
        assert_eq!((publication.key, publication.ephemeral), (None, false));
        assert!(one(r#"{"channel":null,"data":1}"#).unwrap_err().contains("channel"));
    }

    #[test]
    fn a_bad_item_does_not_hide_the_others() {
        let body = br#" [{"channel":"a","data":1}, 7, {"channel":"b","data":2}]"#;
        let Ok(Body::Many(items)) = Body::parse(body, LIMITS) else { panic!() };
        assert_eq!(items.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }
}
