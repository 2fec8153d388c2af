//! The cursor in a connection's `id:` lines.

use fanfare_protocol::cursor;

use super::Following;

/// What `id:` says. Lives as long as the connection.
///
/// Every block has an `id:`, also those that move nothing: to many clients an event without one has the empty id, and that
/// is then what they come back with.
#[derive(Debug)]
pub(super) enum Id {
    /// It is not known yet where each channel begins: the cursor that the client brought, if it had one.
    CameWith(Option<Box<str>>),
    /// The cursor of what has been written.
    Cursor,
}

impl Id {
    /// Appends the line; nothing while there is no cursor.
    pub(super) fn write(&self, follows: &[Following], out: &mut Vec<u8>) {
        if let Self::CameWith(None) = self {
            return;
        }
        out.extend_from_slice(b"id: ");
        match self {
            Self::Cursor => write_cursor(follows, out),
            Self::CameWith(cursor) => out.extend_from_slice(cursor.as_deref().unwrap_or_default().as_bytes()),
        }
        out.push(b'\n');
    }
}

/// Appends the cursor that the client has once it has what was written. What is queued behind does not count yet.
pub(super) fn write_cursor(follows: &[Following], out: &mut Vec<u8>) {
    match follows {
        [only] => cursor::write_one(out, only.sent),
        several => cursor::write_many(out, several.iter().map(|f| (f.tag, f.sent))),
    }
}
