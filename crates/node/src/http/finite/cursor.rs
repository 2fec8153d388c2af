//! The cursor of the next request of a live reader.

use fanfare_broker::clock;
use fanfare_protocol::finite::read_cursor;

/// Returns the next cursor.
pub(super) fn next_cursor(client: Option<u64>) -> u64 {
    read_cursor::next(client, clock::unix_ms(), fastrand::u64(1..=read_cursor::MAX_JITTER))
}
