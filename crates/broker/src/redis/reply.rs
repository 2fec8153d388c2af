//! Parsing of Redis replies.

use ::redis::Value;
use bytes::Bytes;
use fanfare_protocol::Position;

use super::error::unexpected;
use crate::BrokerError;

/// Maximum size of a reply or message after which a connection is reused, in bytes.
///
/// The client library reads each reply into a buffer of the connection, which never shrinks. Replies are usually
/// smaller: the largest event has 1 MiB.
pub(super) const MAX_KEPT_BUFFER: usize = 8 * 1024 * 1024;

/// Returns whether a connection that read this value must be replaced, since it keeps a buffer of that size.
pub(super) fn is_outlier(value: &Value) -> bool {
    size(value) > MAX_KEPT_BUFFER
}

/// Returns the approximate size of a value on the connection, in bytes.
fn size(value: &Value) -> usize {
    match value {
        Value::BulkString(bytes) => bytes.len(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.len(),
        Value::Array(values) | Value::Set(values) => values.iter().map(|value| size(value) + 8).sum(),
        Value::Map(pairs) => pairs.iter().map(|(name, value)| size(name) + size(value) + 16).sum(),
        Value::Push { data, .. } => data.iter().map(size).sum(),
        _ => 16,
    }
}

pub(super) fn bytes(value: Value) -> Option<Bytes> {
    match value {
        // The vector becomes the buffer, without a copy.
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into()),
        _ => None,
    }
}

pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) | Value::Set(values) => Some(values),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

pub(super) fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?.into()).ok()
}

pub(super) fn position(value: Value) -> Option<Position> {
    Position::parse(&bytes(value)?).ok()
}

pub(super) fn is_one(value: &Value) -> Result<bool, BrokerError> {
    match value {
        Value::Int(number) => Ok(*number == 1),
        _ => Err(unexpected("0 or 1")),
    }
}

pub(super) fn number(value: &Value) -> Option<usize> {
    match value {
        Value::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// Returns the pairs of a map, which RESP2 sends as a flat list of names and values.
pub(super) fn map(value: Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::Map(pairs) => Some(pairs),
        value => Some(pairs(array(value)?).collect()),
    }
}

/// Returns the pairs of a flat list of names and values.
pub(super) fn pairs(values: Vec<Value>) -> impl Iterator<Item = (Value, Value)> {
    let mut values = values.into_iter();
    std::iter::from_fn(move || Some((values.next()?, values.next()?)))
}

/// Returns the entries of a stream, in order. `None` for a value that is not an entry, like one that was deleted
/// while it was pending.
pub(super) fn entries(value: Value) -> Option<Vec<Option<StreamEntry>>> {
    Some(array(value)?.into_iter().map(entry).collect())
}

/// Id and fields of an entry, in order.
pub(super) type StreamEntry = (Position, Vec<(Bytes, Bytes)>);

fn entry(value: Value) -> Option<StreamEntry> {
    let mut parts = array(value)?.into_iter();
    let id = position(parts.next()?)?;
    let fields = pairs(array(parts.next()?)?)
        .map(|(name, value)| Some((bytes(name)?, bytes(value)?)))
        .collect::<Option<Vec<_>>>()?;
    Some((id, fields))
}

/// Converts a duration to milliseconds for Redis: at least 1, and below values that overflow its clock.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    const LONGEST: u64 = 100 * 365 * 24 * 3_600_000;
    u64::try_from(duration.as_millis()).unwrap_or(LONGEST).clamp(1, LONGEST)
}
