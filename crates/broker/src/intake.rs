//! What publishers left in the ingest stream.

use bytes::Bytes;
use fanfare_protocol::publish::RESERVED_KEY_PREFIX;
use fanfare_protocol::{Channel, Position};

/// One entry of the ingest stream, as it was written: not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeEntry {
    /// Its id in the ingest stream; also its idempotency key.
    pub id: Position,
    /// Its fields in order.
    pub fields: Vec<(Bytes, Bytes)>,
}

/// What is to become of an entry that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is in its channel's log: remove it.
    Done {
        /// The entry.
        id: Position,
        /// Where it went. Its idempotency key there is forgotten soon.
        channel: Channel,
    },
    /// It can never be: move it to the dead entries with the reason.
    Dead(IntakeEntry, String),
}

/// The idempotency key under which an entry is published, so that it lands in its log once however many nodes take it.
pub fn once_key(id: Position) -> String {
    format!("{RESERVED_KEY_PREFIX}{id}")
}
