//! Entries of the ingest stream that cannot be published, and what the dead-letter stream keeps of them.

use bytes::Bytes;
use fanfare_protocol::Position;

/// An entry that can never be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Id in the ingest stream.
    pub id: Position,
    /// The reason, for the publisher.
    pub reason: String,
    /// Fields, in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// Maximum number of fields of an entry in the dead-letter stream. An event has five at most.
pub(crate) const DEAD_FIELDS: usize = 100;

/// Maximum bytes of an entry in the dead-letter stream besides the data of an event: names and values of its fields.
/// An entry that is an event is kept whole.
const DEAD_BYTES: usize = 4096;

/// Appended to the reason if the entry is truncated.
pub(crate) const DEAD_CUT: &str = " (the rest of the entry is truncated)";

impl Rejected {
    /// Returns the reason and the fields, truncated. `max_data` is the maximum size of an event's data, in bytes.
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

/// An entry of the dead-letter stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Id in the dead-letter stream, whose time is that at which the entry was moved there.
    pub id: Position,
    /// Id that it had in the ingest stream.
    pub entry: String,
    /// Why it was not published.
    pub reason: String,
    /// Whether the fields are those of the publisher: all of them, and none truncated.
    pub is_complete: bool,
    /// Fields of the publisher, in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl DeadLetter {
    /// Reads an entry. One that no node has written is not complete.
    pub(crate) fn read(id: Position, mut fields: Vec<(Bytes, Bytes)>) -> Self {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let (reason, entry) = match &fields[..] {
            [(first, reason), (second, entry), ..] if first == "reason" && second == "entry" => {
                (text(reason), text(entry))
            }
            _ => return Self { id, entry: String::new(), reason: String::new(), is_complete: false, fields },
        };
        fields.drain(..2);
        let is_complete = !reason.ends_with(DEAD_CUT) && (1..=DEAD_FIELDS).contains(&fields.len());
        Self { id, entry, reason, is_complete, fields }
    }

    /// Returns the size of the fields, in bytes.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// Entries of the dead-letter stream, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// The entries.
    pub letters: Vec<DeadLetter>,
    /// Whether the stream has further entries.
    pub more: bool,
}

/// Result of moving an entry back to the ingest stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// It was moved, and has this id in the ingest stream.
    As(Position),
    /// It stays, since it [is not complete](DeadLetter::is_complete).
    Incomplete,
    /// The dead-letter stream has no such entry.
    Gone,
}
