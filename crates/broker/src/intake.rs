//! Entries of the ingest stream, which are stored in the logs once and in order.
//!
//! ADR 3 (`docs/adr/`) has the reasons, and what a leader that was paused can still do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_protocol::channel::MAX_CHANNEL_BYTES;
use fanfare_protocol::publish::{Publication, TimedPublication};
use fanfare_protocol::{Channel, Position};

/// One reading of the ingest stream, from its oldest entry. It ends when another reading starts, or when the stream
/// is deleted, and then returns no more entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Generation of the stream, within which ids grow. A stream that was deleted and recreated is a new generation.
    pub generation: Arc<str>,
    /// Unique name of the reading.
    pub name: Arc<str>,
}

/// How far ids may be ahead of the broker's clock. Publishers may choose ids; after the greatest possible one, no entry can
/// be added to the stream.
pub(crate) const MAX_AHEAD: Duration = Duration::from_hours(24);

/// Returns whether an id is too far ahead of a clock, in milliseconds of Unix time.
pub fn is_ahead(id: Position, now: u64) -> bool {
    Duration::from_millis(id.ms.saturating_sub(now)) > MAX_AHEAD
}

/// One entry of the ingest stream, not validated yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeEntry {
    /// Id in the ingest stream.
    pub id: Position,
    /// Fields, in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl IntakeEntry {
    /// Returns the size of the fields, in bytes.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Returns the channel that an entry names, valid or not, as far as it may be logged.
pub fn channel_of(fields: &[(Bytes, Bytes)]) -> String {
    let named = fields.iter().find(|(name, _)| &name[..] == b"channel");
    let text = named.map(|(_, value)| String::from_utf8_lossy(&value[..value.len().min(MAX_CHANNEL_BYTES)]));
    text.unwrap_or_default().into_owned()
}

/// A valid entry, to be published to its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainedEntry {
    /// Id in the ingest stream.
    pub id: Position,
    /// The previous entry of the same channel in the same call: this entry is not published before that one.
    pub after: Option<Position>,
    /// The publication. It is stored: an entry of the ingest stream is never ephemeral.
    pub publication: Publication,
    /// The last moment at which it may be published, in Unix milliseconds.
    pub until: Option<u64>,
}

/// Result of publishing an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntakeOutcome {
    /// The entry was appended to its channel's log.
    Published,
    /// The entry, or another event with its idempotency key, was stored before.
    Repeat,
    /// Nothing was done, since the previous entry is not published.
    Blocked,
    /// The entry was dropped: its time is over.
    Late,
}

/// Links each entry to the previous entry of its channel. The entries must be in the order of their ids.
pub fn chain<P: Into<TimedPublication>>(
    entries: impl IntoIterator<Item = (Position, P)>,
) -> Vec<ChainedEntry> {
    let mut newest: HashMap<Channel, Position> = HashMap::new();
    let place = |(id, publication): (Position, P)| {
        let TimedPublication { publication, until } = publication.into();
        let after = newest.insert(publication.channel.clone(), id);
        ChainedEntry { id, after, publication, until }
    };
    entries.into_iter().map(place).collect()
}
