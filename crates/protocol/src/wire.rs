//! The text of Pub/Sub messages. Each channel has two topics, so that an ACL can control who may publish on which.
//!
//! On the live topic the publish script sends each stored event when it is appended, as one header line and the data:
//!
//! ```text
//! 1 <position> <previous position> <type>\n<data>
//! ```
//!
//! or, if a session does not get the event ([`Except`]):
//!
//! ```text
//! 2 <position> <previous position> <session> <type>\n<data>
//! ```
//!
//! or, if the event belongs to a trace ([`TraceParent`]), with `-` for no session:
//!
//! ```text
//! 3 <position> <previous position> <traceparent> <session> <type>\n<data>
//! ```
//!
//! On the topic for ephemeral events publishers send JSON objects, `{"type": "cursor", "data": …, "except": …, "traceparent": …}`.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{Event, EventError, EventType};
use crate::except::ExceptError;
use crate::json::{self, EncodingError, brief};
use crate::position::PositionError;
use crate::publish::{DataError, data_text};
use crate::{Entry, Except, Position, TraceParent};

/// One of a channel's two topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// `…:live`: stored events, which only the publish script sends.
    Live,
    /// `…:ephemeral`: ephemeral events, which publishers send.
    Ephemeral,
}

/// One message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An entry of the log.
    Kept(Entry),
    /// An event without a position.
    Ephemeral(Event),
}

/// Why a message is malformed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A message on the live topic that is not of the publish script's form.
    #[error(
        "messages of a live topic come from the publish script only; ephemeral events use the topic …:ephemeral"
    )]
    Form,
    /// A message on the topic for ephemeral events that is not an object.
    #[error("an ephemeral event must be an object {{\"type\",\"data\"}}")]
    NoObject,
    /// A header with an invalid position.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// An entry whose position is not after the previous one.
    #[error("the position is not after the previous position")]
    Order,
    /// More bytes than an event within the limits can have in any encoding.
    #[error("the message has {got} bytes; an event within the limits has at most {most}")]
    TooLong {
        /// Size of the message, in bytes.
        got: usize,
        /// The limit, in bytes.
        most: usize,
    },
    /// Not JSON text because of its encoding.
    #[error("the message {0}")]
    Encoding(#[from] EncodingError),
    /// JSON that is not an object of the expected form.
    #[error("invalid ephemeral event: {}", brief(.0))]
    Json(#[from] serde_json::Error),
    /// Data that cannot be sent.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An invalid type or invalid data.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A text that names no session.
    #[error("except: {0}")]
    Except(#[from] ExceptError),
}

/// Maximum bytes of JSON for one byte of data: `\u0000`.
const JSON_A_BYTE: usize = 6;
/// Maximum bytes of a message besides its data: positions, the type, names, white space.
const BESIDE: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with data and maybe type, except, traceparent")]
struct Ephemeral<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    except: Option<String>,
    traceparent: Option<String>,
}

impl FrameError {
    /// Returns the reason without any part of the message, for logs.
    pub fn reason(&self) -> String {
        match self {
            Self::Json(error) if error.is_data() => format!("invalid ephemeral event: {}", form(error)),
            // The parser's text about syntax quotes nothing.
            Self::Json(error) => format!("invalid ephemeral event: {error}"),
            Self::Data(DataError::Text(error)) => {
                format!("invalid ephemeral event: data has no UTF-8 text: {}", json::reason(error))
            }
            Self::Event(EventError::Reserved(_)) => "a reserved event type".to_owned(),
            Self::Except(_) => "except names no session".to_owned(),
            other => other.to_string(),
        }
    }
}

/// Returns what is wrong with the form of an ephemeral event. The parser's own text may quote a name or a value.
fn form(error: &serde_json::Error) -> &'static str {
    let text = error.to_string();
    match text.split(' ').next() {
        Some("missing") => "the field data is missing",
        Some("duplicate") => "a field is present twice",
        Some("unknown") => "a field is none of type, data, except and traceparent",
        _ if text.contains("expected an object with data and maybe type, except, traceparent at") => {
            "it is not an object"
        }
        _ => "type, except or traceparent is not a string",
    }
}

impl Frame {
    /// Parses a message of a topic. `limit` is the maximum size of an event's data, in bytes.
    ///
    /// # Errors
    ///
    /// Fails if the message does not have the topic's form, or if its event is not allowed.
    pub fn parse(topic: Topic, message: &Bytes, limit: usize) -> Result<Self, FrameError> {
        let (got, most) = (message.len(), limit.saturating_mul(JSON_A_BYTE).saturating_add(BESIDE));
        if got > most {
            return Err(FrameError::TooLong { got, most });
        }
        match (topic, message.first()) {
            (Topic::Live, _) => parse_kept(message, limit).map(Self::Kept),
            (Topic::Ephemeral, Some(b'{' | b' ' | b'\n' | b'\r' | b'\t')) => {
                parse_ephemeral(message, limit).map(Self::Ephemeral)
            }
            // Report a byte order mark as such.
            _ => Err(json::text(message).err().map_or(FrameError::NoObject, FrameError::Encoding)),
        }
    }

    /// Returns the topic of the message.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Kept(_) => Topic::Live,
            Self::Ephemeral(_) => Topic::Ephemeral,
        }
    }

    /// Returns the message's bytes, as the publish script or an ephemeral publisher writes them.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Kept(Entry { position, previous, event }) => {
                let kind = event.kind_str();
                let head = match (event.trace(), event.excepted()) {
                    (None, None) => format!("1 {position} {previous} {kind}\n"),
                    (None, Some(except)) => format!("2 {position} {previous} {except} {kind}\n"),
                    (Some(trace), None) => format!("3 {position} {previous} {trace} - {kind}\n"),
                    (Some(trace), Some(except)) => {
                        format!("3 {position} {previous} {trace} {except} {kind}\n")
                    }
                };
                let mut out = head.into_bytes();
                out.extend_from_slice(event.data_bytes());
                out
            }
            Self::Ephemeral(event) => {
                let mut object = serde_json::Map::new();
                if let Some(kind) = &event.kind {
                    object.insert("type".into(), kind.as_str().into());
                }
                object.insert("data".into(), event.data().into());
                if let Some(except) = event.excepted() {
                    object.insert("except".into(), except.to_string().into());
                }
                if let Some(trace) = event.trace() {
                    object.insert("traceparent".into(), trace.to_string().into());
                }
                serde_json::Value::Object(object).to_string().into_bytes()
            }
        }
    }
}

fn parse_kept(message: &Bytes, limit: usize) -> Result<Entry, FrameError> {
    let end = memchr::memchr(b'\n', message).ok_or(FrameError::Form)?;
    let extras = match message.first() {
        Some(b'1') => 0,
        Some(b'2') => 1,
        Some(b'3') => 2,
        _ => return Err(FrameError::Form),
    };
    // A type may have spaces.
    let mut words = message[..end].splitn(4 + extras, |&b| b == b' ');
    let mut word = || words.next().ok_or(FrameError::Form);
    if word()?.len() != 1 {
        return Err(FrameError::Form);
    }
    let position = Position::parse(word()?)?;
    let previous = Position::parse(word()?)?;
    let (mut except, mut trace) = (None, None);
    if extras == 2 {
        trace = TraceParent::parse(word()?);
    }
    if extras > 0 {
        let word = word()?;
        except = if extras == 2 && word == b"-" { None } else { Some(session(word)?) };
    }
    let event = Event::from_bytes(word()?, message.slice(end + 1..), limit)?.except(except).traced(trace);
    if previous >= position {
        return Err(FrameError::Order);
    }
    Ok(Entry { position, previous, event })
}

fn session(text: &[u8]) -> Result<Except, FrameError> {
    Ok(std::str::from_utf8(text).map_err(|_| FrameError::Form)?.parse()?)
}

fn parse_ephemeral(message: &[u8], limit: usize) -> Result<Event, FrameError> {
    let Ephemeral { kind, data, except, traceparent } = json::object(json::text(message)?)?;
    let kind = kind.as_deref().map(EventType::new).transpose()?;
    let except = except.map(|except| except.parse()).transpose()?;
    let trace = traceparent.and_then(|trace| TraceParent::parse(trace.as_bytes()));
    Ok(Event::new(kind, data_text(data)?, limit)?.except(except).traced(trace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::User;
    use proptest::prelude::*;

    const LIMIT: usize = 1024;

    fn events() -> impl Strategy<Value = Event> {
        let user = proptest::option::of("[a-z/:.]{1,20}");
        (
            proptest::option::of("[^\r\n\0]{1,20}"),
            any::<String>(),
            proptest::option::of((user, any::<u128>())),
            proptest::option::of((any::<[u8; 16]>(), any::<[u8; 8]>(), any::<bool>())),
        )
            .prop_filter_map("reserved or too long", |(kind, data, except, trace)| {
                let kind = kind.map(|kind| EventType::new(&kind)).transpose().ok()?;
                let except = except.map(|(user, id)| Except {
                    user: user.map(|user| User::new(&user).unwrap()),
                    session: uuid::Uuid::from_u128(id).into(),
                });
                let trace = trace.and_then(|(trace, span, sampled)| TraceParent::new(trace, span, sampled));
                Some(Event::new(kind, data, LIMIT).ok()?.except(except).traced(trace))
            })
    }

    proptest! {
        #[test]
        fn a_kept_event_reads_back(event in events(), ms in 1u64.., seq: u64, before: u64) {
            let frame = Frame::Kept(Entry {
                position: Position::new(ms, seq), previous: Position::new(ms - 1, before), event,
            });
            prop_assert_eq!(Frame::parse(Topic::Live, &frame.encode().into(), LIMIT).unwrap(), frame.clone());
            prop_assert!(Frame::parse(Topic::Ephemeral, &frame.encode().into(), LIMIT).is_err());
        }

        #[test]
        fn an_ephemeral_event_reads_back(event in events()) {
            let frame = Frame::Ephemeral(event);
            prop_assert_eq!(Frame::parse(Topic::Ephemeral, &frame.encode().into(), LIMIT).unwrap(), frame.clone());
            prop_assert!(Frame::parse(Topic::Live, &frame.encode().into(), LIMIT).is_err());
        }

        #[test]
        fn no_message_breaks_the_reader(bytes: Vec<u8>, tail in "1 [0-9- ]{0,30}\n?.{0,20}") {
            let (bytes, tail) = (Bytes::from(bytes), Bytes::from(tail));
            for topic in [Topic::Live, Topic::Ephemeral] {
                let _ = Frame::parse(topic, &bytes, LIMIT);
                let _ = Frame::parse(topic, &tail, LIMIT);
            }
        }
    }

    #[test]
    fn a_message_that_is_too_long_in_any_spelling_is_not_looked_into() {
        let escaped = |count: usize| Bytes::from(format!(r#"{{"data":"{}"}}"#, "\\u0041".repeat(count)));
        assert!(matches!(Frame::parse(Topic::Ephemeral, &escaped(LIMIT), LIMIT), Ok(Frame::Ephemeral(_))));
        assert!(matches!(
            Frame::parse(Topic::Ephemeral, &escaped(LIMIT + 1), LIMIT),
            Err(FrameError::Event(_))
        ));
        for long in [format!("1{}", " ".repeat(30_000)), "[".repeat(30_000), "\0".repeat(30_000)] {
            let error = Frame::parse(Topic::Ephemeral, &long.into(), LIMIT).unwrap_err();
            assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
        }
    }

    #[test]
    fn the_reason_names_the_fault_and_quotes_nothing() {
        for (message, reason) in [
            ("{}", "invalid ephemeral event: the field data is missing"),
            (r#"{"data":1,"data":2}"#, "invalid ephemeral event: a field is present twice"),
            (
                r#"{"data":1,"secret":2}"#,
                "invalid ephemeral event: a field is none of type, data, except and traceparent",
            ),
            (r#"{"type":"secret","type":"t"}"#, "invalid ephemeral event: a field is present twice"),
            (
                r#"{"type":7,"data":2}"#,
                "invalid ephemeral event: type, except or traceparent is not a string",
            ),
            (r#" ["secret"]"#, "invalid ephemeral event: it is not an object"),
            (r#"{"data":secret}"#, "invalid ephemeral event: expected value at line 1 column 9"),
            (r#"{"data":1 "secret"}"#, "invalid ephemeral event: expected `,` or `}` at line 1 column 11"),
            (
                r#"{"data":"secret\ud800"}"#,
                "invalid ephemeral event: data has no UTF-8 text: unexpected end of hex escape",
            ),
            (r#"{"type":"gap","data":1}"#, "a reserved event type"),
            (r#"{"data":1,"except":"secret"}"#, "except names no session"),
        ] {
            let error = Frame::parse(Topic::Ephemeral, &Bytes::from_static(message.as_bytes()), LIMIT);
            assert_eq!(error.unwrap_err().reason(), reason, "{message}");
        }
    }

    #[test]
    fn what_is_not_a_frame_is_refused() {
        for bad in [
            "",
            "hello",
            "1",
            "1 5-0\nx",
            "1 5-0 4-0\nx",
            "1 5-0 x t\nd",
            "1 5-0 5-0 t\nd",
            "12 5-0 4-0 t\nd",
            "1 5-0 4-0 gap\nd",
            "2 5-0 4-0 t\nd",
            "2 5-0 4-0 a/x t\nd",
            "3 5-0 4-0 t\nd",
            "3 5-0 4-0 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 t\nd",
            "3 5-0 4-0 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 x t\nd",
            "4 5-0 4-0 t\nd",
            "22 5-0 4-0 0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11 t\nd",
            "{}",
            "{\"data\":1,\"x\":2}",
            "{\"data\":1,\"except\":\"alice\"}",
            "{\"type\":\"a\\nb\",\"data\":1}",
            "[1]",
            " [\"typing\",1]",
            "\u{feff}{\"data\":1}",
        ] {
            for topic in [Topic::Live, Topic::Ephemeral] {
                assert!(Frame::parse(topic, &Bytes::from_static(bad.as_bytes()), LIMIT).is_err(), "{bad:?}");
            }
        }
        let json = Bytes::from_static(br#"{"type":"cursor","data":{"x": 1}}"#);
        let Ok(Frame::Ephemeral(event)) = Frame::parse(Topic::Ephemeral, &json, LIMIT) else { panic!() };
        assert_eq!((event.kind_str(), event.data()), ("cursor", r#"{"x":1}"#));
        let odd = Bytes::from_static(br#"{"data":{"a":1E5,"a":{"$serde_json::private::RawValue":"2"}}}"#);
        let Ok(Frame::Ephemeral(event)) = Frame::parse(Topic::Ephemeral, &odd, LIMIT) else { panic!() };
        assert_eq!(event.data(), r#"{"a":1E5,"a":{"$serde_json::private::RawValue":"2"}}"#);
    }
}
