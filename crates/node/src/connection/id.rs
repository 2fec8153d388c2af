//! The cursor in a connection's `id:` lines.

use fanfare_protocol::cursor;

use super::Subscription;

/// Value of `id:`. Lives as long as the connection.
///
/// Every block has an `id:`, also blocks that do not change the cursor: for many clients an event without `id:` has
/// the empty id, with which they then reconnect.
#[derive(Debug)]
pub(super) enum Id {
    /// The cursor that the client sent, if any, until the start of every channel is known.
    FromClient(Option<Box<str>>),
    /// The cursor of the written events.
    Cursor,
}

impl Id {
    /// Appends the line, if there is a cursor.
    pub(super) fn write(&self, subscriptions: &[Subscription], out: &mut Vec<u8>) {
        if let Self::FromClient(None) = self {
            return;
        }
        out.extend_from_slice(b"id: ");
        match self {
            Self::Cursor => write_cursor(subscriptions, out),
            Self::FromClient(cursor) => {
                out.extend_from_slice(cursor.as_deref().unwrap_or_default().as_bytes());
            }
        }
        out.push(b'\n');
    }
}

/// Appends the client's cursor after the written events. Queued events do not count yet.
pub(super) fn write_cursor(subscriptions: &[Subscription], out: &mut Vec<u8>) {
    match subscriptions {
        [only] => cursor::write_one(out, only.sent),
        several => cursor::write_many(out, several.iter().map(|f| (f.tag, f.sent))),
    }
}
