//! The cursor in a connection's `id:` lines.

use fanfare_protocol::cursor;

use super::Subscription;
use crate::dialect::Dialect;

/// Value of `id:`. Lives as long as the connection.
#[derive(Debug)]
pub(super) enum Id {
    /// The cursor that the client sent, if any, until the start of every channel is known.
    FromClient(Option<Box<str>>),
    /// The cursor of the written events.
    Cursor,
}

impl Id {
    /// Appends the line, if there is a cursor.
    pub(super) fn write(&self, dialect: Dialect, subscriptions: &[Subscription], out: &mut Vec<u8>) {
        match self {
            Self::Cursor => dialect.id_line(out, |out| write_cursor(subscriptions, out)),
            Self::FromClient(Some(cursor)) => {
                dialect.id_line(out, |out| out.extend_from_slice(cursor.as_bytes()));
            }
            Self::FromClient(None) => {}
        }
    }
}

/// Appends the client's cursor after the written events. Queued events do not count yet.
pub(super) fn write_cursor(subscriptions: &[Subscription], out: &mut Vec<u8>) {
    match subscriptions {
        [only] => cursor::write_one(out, only.sent),
        several => cursor::write_many(out, several.iter().map(|f| (f.tag, f.sent))),
    }
}
