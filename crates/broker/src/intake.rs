//! What publishers left in the ingest stream, and how it gets into the logs once and in order.
//!
//! ADR 3 (`docs/adr/`) says why it is so, and what a leader that was paused can still do.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Position};

/// One reading of the ingest stream, from its oldest entry on. It is over when another begins, or when the stream is
/// deleted: it then gives no entries any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Which stream: within a generation, ids grow. A stream that was deleted comes back as another generation.
    pub generation: Arc<str>,
    /// Tells this reading from every other one.
    pub name: Arc<str>,
}

/// One entry of the ingest stream, as it was written: not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeEntry {
    /// Its id in the ingest stream.
    pub id: Position,
    /// Its fields in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl IntakeEntry {
    /// Returns how many bytes its fields have.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// An entry on its way to its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its id in the ingest stream.
    pub id: Position,
    /// The entry of the same channel before it in the same call, an earlier one: until that one is published, neither
    /// is this one.
    pub after: Option<Position>,
    /// What it says. It is kept: an entry of the ingest stream is never ephemeral.
    pub publication: Publication,
}

/// What became of an entry that the broker was asked to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intaken {
    /// It is in its channel's log now.
    Published,
    /// It, or what another way brought under its key, was there before.
    Repeat,
    /// Nothing was done, since the entry before it is not published.
    HeldUp,
}

/// An entry that can never be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its id in the ingest stream.
    pub id: Position,
    /// Why, for whoever wrote it.
    pub reason: String,
    /// Its fields in order, as they were taken.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// How many fields of a dead entry are kept at most. An event has four.
const DEAD_FIELDS: usize = 100;

/// How many bytes of a dead entry are kept at most beside the data of an event, names and values of its fields: an
/// entry that says an event is kept whole.
const DEAD_BYTES: usize = 4096;

/// What is said behind the reason where a dead entry was kept in part.
const DEAD_CUT: &str = " (the rest of the entry is truncated)";

impl Rejected {
    /// Returns the reason, and the fields as far as they are kept where an event may have `max_data` bytes of data.
    pub(crate) fn kept(self, max_data: usize) -> (String, Vec<(Bytes, Bytes)>) {
        let Self { mut reason, fields, .. } = self;
        let (mut room, mut is_cut) = (max_data + DEAD_BYTES, fields.len() > DEAD_FIELDS);
        let mut keep = |bytes: Bytes| {
            let kept = bytes.slice(..bytes.len().min(room));
            room -= kept.len();
            is_cut |= kept.len() < bytes.len();
            kept
        };
        let kept =
            fields.into_iter().take(DEAD_FIELDS).map(|(name, value)| (keep(name), keep(value))).collect();
        if is_cut {
            reason += DEAD_CUT;
        }
        (reason, kept)
    }
}

/// Ties each entry to the one of its channel before it. They are in the order of their ids.
pub fn chain(entries: impl IntoIterator<Item = (Position, Publication)>) -> Vec<Placed> {
    let mut newest: HashMap<Channel, Position> = HashMap::new();
    let place = |(id, publication): (Position, Publication)| {
        let after = newest.insert(publication.channel.clone(), id);
        Placed { id, after, publication }
    };
    entries.into_iter().map(place).collect()
}
