//! Type and data of an event, and their limits.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Except, TraceParent};

/// Maximum length of an event type, in bytes.
pub const MAX_TYPE_BYTES: usize = 128;
/// Default of the maximum size of an event's data, in bytes.
///
/// Many clients accept lines of at most 64 KiB, including the line ending and `data: `: Go's `bufio.Scanner` fails on
/// a longer line, and its client reconnects to the same event forever.
pub const DEFAULT_MAX_DATA_BYTES: usize = 60 * 1024;
/// Upper bound of that setting, in bytes.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;
/// Types of control events, which only Fanfare itself sends.
pub const CONTROL_TYPES: [&str; 9] = [
    "connected",
    "disconnected",
    "shutdown",
    "superseded",
    "gap",
    "overloaded",
    "expired",
    "excepted",
    "end",
];
/// Types with which a browser's `EventSource` reports the state of its connection (WHATWG HTML, section 9.2.2). An
/// event of such a type would call `onerror` or `onopen`, and a page would take it for a lost or new connection.
pub const CONNECTION_TYPES: [&str; 2] = ["error", "open"];

/// Type of an event, sent as `event:`: one line, not empty, not reserved.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventType(Arc<str>);

/// Why a type or data is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// An empty type.
    #[error("the event type is empty; omit it for a plain message")]
    EmptyType,
    /// More than [`MAX_TYPE_BYTES`].
    #[error("the event type has {0} bytes; at most {MAX_TYPE_BYTES} are allowed")]
    TypeTooLong(usize),
    /// A type with CR or LF, which would end the line, or with NUL, which clients reject.
    #[error("the event type has {found} at byte {at}; it must be one line without NUL")]
    TypeCharacter {
        /// Name of the character.
        found: &'static str,
        /// Its offset in bytes.
        at: usize,
    },
    /// One of [`CONTROL_TYPES`].
    #[error("the event type {0:?} is reserved for Fanfare's control events; choose another")]
    Reserved(&'static str),
    /// One of [`CONNECTION_TYPES`].
    #[error(
        "the event type {0:?} is reserved: a browser calls on{0} for it, as for events of the connection; \
         choose another, like \"task.{0}\""
    )]
    Connection(&'static str),
    /// Bytes that are not UTF-8.
    #[error("{what} is not UTF-8 at byte {at}; only UTF-8 can be sent as server-sent events")]
    NotUtf8 {
        /// The type or the data.
        what: &'static str,
        /// Offset of the first invalid byte.
        at: usize,
    },
    /// More data than the limit.
    #[error("the data has {got} bytes; at most {limit} are allowed")]
    DataTooLong {
        /// Size of the data, in bytes.
        got: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Returns every type that cannot be published, with the error.
pub fn reserved() -> impl Iterator<Item = (&'static str, EventError)> {
    let control = CONTROL_TYPES.into_iter().map(|kind| (kind, EventError::Reserved(kind)));
    control.chain(CONNECTION_TYPES.into_iter().map(|kind| (kind, EventError::Connection(kind))))
}

impl EventType {
    /// Checks a type.
    ///
    /// # Errors
    ///
    /// Fails if it is empty, too long, reserved, or has CR, LF or NUL.
    pub fn new(text: &str) -> Result<Self, EventError> {
        if text.is_empty() {
            return Err(EventError::EmptyType);
        }
        if text.len() > MAX_TYPE_BYTES {
            return Err(EventError::TypeTooLong(text.len()));
        }
        if let Some(at) = text.find(['\r', '\n', '\0']) {
            let found = match text.as_bytes()[at] {
                b'\r' => "CR",
                b'\n' => "LF",
                _ => "NUL",
            };
            return Err(EventError::TypeCharacter { found, at });
        }
        match reserved().find(|(reserved, _)| *reserved == text) {
            Some((_, error)) => Err(error),
            None => Ok(Self(text.into())),
        }
    }

    /// Returns the type's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// An event: an optional type, data, and maybe a session that does not get it, and the trace of its publisher. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// The type; `None` is a plain message, which clients receive with the type `message`.
    pub kind: Option<EventType>,
    data: Bytes,
    /// `None` without extras, as most events are.
    extras: Option<Arc<Extras>>,
}

/// What few events have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extras {
    except: Option<Except>,
    trace: Option<TraceParent>,
}

impl Event {
    /// Creates an event.
    ///
    /// # Errors
    ///
    /// Fails if the data has more than `limit` bytes.
    pub fn new(kind: Option<EventType>, data: String, limit: usize) -> Result<Self, EventError> {
        if data.len() > limit {
            return Err(EventError::DataTooLong { got: data.len(), limit });
        }
        Ok(Self { kind, data: data.into(), extras: None })
    }

    /// Creates an event from raw bytes. An empty type is a plain message.
    ///
    /// # Errors
    ///
    /// Fails if the type or the data is not UTF-8, if the type is invalid, or if the data has more than `limit`
    /// bytes.
    pub fn from_bytes(kind: &[u8], data: Bytes, limit: usize) -> Result<Self, EventError> {
        let utf8 = |what, bytes| {
            std::str::from_utf8(bytes).map_err(|e| EventError::NotUtf8 { what, at: e.valid_up_to() })
        };
        let kind = match utf8("the event type", kind)? {
            "" => None,
            text => Some(EventType::new(text)?),
        };
        if data.len() > limit {
            return Err(EventError::DataTooLong { got: data.len(), limit });
        }
        utf8("the data", &data)?;
        Ok(Self { kind, data, extras: None })
    }

    /// Returns the type as it is stored: empty for a plain message.
    pub fn kind_str(&self) -> &str {
        self.kind.as_ref().map_or("", EventType::as_str)
    }

    /// Returns the data: UTF-8, with whatever line endings the publisher sent.
    pub fn data(&self) -> &str {
        // Both constructors check UTF-8; the default avoids a panic without `unsafe`.
        std::str::from_utf8(&self.data).unwrap_or_default()
    }

    /// Returns the event for all but one session.
    #[must_use]
    pub fn except(self, except: Option<Except>) -> Self {
        self.with(except, |extras, except| extras.except = except)
    }

    /// Returns the session that does not get the event, if there is one.
    pub fn excepted(&self) -> Option<&Except> {
        self.extras.as_ref()?.except.as_ref()
    }

    /// Returns the event as a part of a trace.
    #[must_use]
    pub fn traced(self, trace: Option<TraceParent>) -> Self {
        self.with(trace, |extras, trace| extras.trace = trace)
    }

    /// Returns the trace that the event belongs to, if there is one.
    pub fn trace(&self) -> Option<&TraceParent> {
        self.extras.as_ref()?.trace.as_ref()
    }

    /// Sets one of the extras.
    fn with<T>(mut self, extra: Option<T>, set: impl FnOnce(&mut Extras, Option<T>)) -> Self {
        if extra.is_some() || self.extras.is_some() {
            let mut extras = self.extras.as_deref().cloned().unwrap_or_default();
            set(&mut extras, extra);
            self.extras = (extras != Extras::default()).then(|| Arc::new(extras));
        }
        self
    }

    /// Returns the data's bytes.
    pub fn data_bytes(&self) -> &Bytes {
        &self.data
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads must not get into logs.
        write!(f, "Event({:?}, {} bytes)", self.kind_str(), self.data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_type_is_said() {
        assert_eq!(EventType::new(""), Err(EventError::EmptyType));
        assert_eq!(EventType::new(&"x".repeat(129)), Err(EventError::TypeTooLong(129)));
        assert_eq!(EventType::new("a\nid: 7"), Err(EventError::TypeCharacter { found: "LF", at: 1 }));
        assert!(EventType::new("a\rb").is_err() && EventType::new("a\0b").is_err());
        for reserved in CONTROL_TYPES {
            assert_eq!(EventType::new(reserved), Err(EventError::Reserved(reserved)));
        }
        assert_eq!(EventType::new("order.paid").unwrap().as_str(), "order.paid");
    }

    #[test]
    fn an_event_that_a_browser_takes_for_its_connection_is_refused_and_another_name_is_offered() {
        for reserved in ["error", "open"] {
            let error = EventType::new(reserved).unwrap_err().to_string();
            let offered = format!("task.{reserved}");
            assert!(error.contains(&format!("on{reserved}")) && error.contains(&offered), "{error}");
            assert!(EventType::new(&offered).is_ok());
        }
        // As in the DOM, upper and lower case are not the same.
        assert!(EventType::new("Error").is_ok());
    }

    #[test]
    fn bytes_must_be_utf8_and_within_the_limit() {
        let event =
            |kind: &'static [u8], data: &'static [u8]| Event::from_bytes(kind, Bytes::from_static(data), 8);
        assert!(event(b"", b"12345678").unwrap().kind.is_none());
        assert_eq!(event(b"", b"123456789"), Err(EventError::DataTooLong { got: 9, limit: 8 }));
        assert_eq!(event(b"", b"ab\xff"), Err(EventError::NotUtf8 { what: "the data", at: 2 }));
        assert_eq!(event(b"\xff", b""), Err(EventError::NotUtf8 { what: "the event type", at: 0 }));
    }
}
