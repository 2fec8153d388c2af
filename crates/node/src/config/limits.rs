//! What bounds the work of one node: `[limits]`.

use bytesize::ByteSize;
use fanfare_protocol::cursor::MAX_CURSOR_CHANNELS;
use fanfare_protocol::event::DEFAULT_MAX_DATA_BYTES;
use serde::{Deserialize, Serialize};

/// `[limits]`: beyond them a request is refused, or the client is sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How many streams this node holds; more are answered as overloaded. `FANFARE_LIMITS__CONNECTIONS`.
    pub connections: usize,
    /// How many streams a second this node takes; more are answered as overloaded. 0 is no limit.
    /// `FANFARE_LIMITS__CONNECTS_PER_SECOND`.
    pub connects_per_second: u32,
    /// How many sockets may be open beside those of the streams; more wait to be accepted.
    /// `FANFARE_LIMITS__SOCKETS`.
    pub sockets: usize,
    /// How many requests, streams among them, may be open on one HTTP/2 connection.
    /// `FANFARE_LIMITS__REQUESTS_PER_CONNECTION`.
    pub requests_per_connection: u32,
    /// How many sessions a user may have in the whole cluster. `FANFARE_LIMITS__SESSIONS_PER_USER`.
    pub sessions_per_user: usize,
    /// How many channels a stream may follow, its user's own and `broadcast` included; at most 256.
    /// `FANFARE_LIMITS__CHANNELS_PER_STREAM`.
    pub channels_per_stream: usize,
    /// The most data an event may have; at most 1 MiB. `FANFARE_LIMITS__EVENT_DATA`.
    pub event_data: ByteSize,
    /// How many events one request may publish. `FANFARE_LIMITS__BATCH_EVENTS`.
    pub batch_events: usize,
    /// How many bytes the body of such a request may have. `FANFARE_LIMITS__BATCH_BYTES`.
    pub batch_bytes: ByteSize,
    /// How many bytes the head of a request may have, with room for a stream's cursor; 16 to 64 KiB. Balancers must let
    /// as much through.
    /// `FANFARE_LIMITS__HEAD_BYTES`.
    pub head_bytes: ByteSize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connects_per_second: 5000,
            sockets: 4096,
            requests_per_connection: 128,
            sessions_per_user: 16,
            channels_per_stream: MAX_CURSOR_CHANNELS,
            event_data: ByteSize::b(DEFAULT_MAX_DATA_BYTES as u64),
            batch_events: 1000,
            batch_bytes: ByteSize::mib(8),
            head_bytes: ByteSize::kib(32),
        }
    }
}
