//! Settings of the streams that clients hold open: `[stream]`.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// `[stream]`: how a stream behaves, and what bounds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamConfig {
    /// A comment is sent after so long without anything else. `FANFARE_STREAM__HEARTBEAT`.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// The shortest `retry:` that a client is told. `FANFARE_STREAM__RETRY`.
    #[serde(with = "humantime_serde")]
    pub retry: Duration,
    /// Each client's `retry:` is longer than that by a random part of this. `FANFARE_STREAM__RETRY_SPREAD`.
    #[serde(with = "humantime_serde")]
    pub retry_spread: Duration,
    /// A client that takes nothing for so long although something waits is cut off. `FANFARE_STREAM__WRITE_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// A client whose machine answers nothing for so long is given up; at least `write_timeout`, since the kernel counts
    /// the time for which a client takes nothing too. `FANFARE_STREAM__PEER_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub peer_timeout: Duration,
    /// A stream ends at this age; `0s` is never. `FANFARE_STREAM__MAX_AGE`.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// A stream ends after so long without an event; `0s` is never. `FANFARE_STREAM__IDLE_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a connection that we ended may take to close from the client's side, so that it receives the last
    /// bytes. `FANFARE_STREAM__LINGER`.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// How many bytes may wait for one client; beyond it the client catches up from the log.
    /// `FANFARE_STREAM__QUEUE`.
    pub queue: ByteSize,
    /// How many events one read of a log brings at most. `FANFARE_STREAM__PAGE_EVENTS`.
    pub page_events: usize,
    /// How many bytes of events one read of a log brings at most; a single event may be larger. `FANFARE_STREAM__PAGE_BYTES`.
    pub page_bytes: ByteSize,
    /// How many reads of logs may be under way at once. `FANFARE_STREAM__MAX_LOG_READS`.
    pub max_log_reads: usize,
    /// How many bytes of logs may be on their way to the node at once, for streams and the history call together.
    /// `FANFARE_STREAM__MAX_LOG_READ_BYTES`.
    pub max_log_read_bytes: ByteSize,
    /// How many recent events of a channel are kept at hand. `FANFARE_STREAM__RECENT_EVENTS`.
    pub recent_events: usize,
    /// How many bytes of them. `FANFARE_STREAM__RECENT_BYTES`.
    pub recent_bytes: ByteSize,
    /// How many bytes of events may wait for one writer loop; beyond it they are dropped and its streams catch up
    /// from the logs. `FANFARE_STREAM__SHARD_QUEUE`.
    pub shard_queue: ByteSize,
    /// How long a channel that nobody follows any more is still heard. `FANFARE_STREAM__UNSUBSCRIBE_DELAY`.
    #[serde(with = "humantime_serde")]
    pub unsubscribe_delay: Duration,
    /// Whether streams are compressed for clients that accept gzip. `FANFARE_STREAM__GZIP`.
    pub gzip: bool,
    /// How many writer loops there are; 0 is one for each core. `FANFARE_STREAM__SHARDS`.
    pub shards: usize,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(15),
            retry: Duration::from_secs(2),
            retry_spread: Duration::from_secs(2),
            write_timeout: Duration::from_secs(30),
            peer_timeout: Duration::from_secs(30),
            max_age: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            linger: Duration::from_secs(2),
            queue: ByteSize::kib(64),
            page_events: 100,
            page_bytes: ByteSize::kib(64),
            max_log_reads: 64,
            max_log_read_bytes: ByteSize::mib(4),
            recent_events: 64,
            recent_bytes: ByteSize::kib(64),
            shard_queue: ByteSize::mib(64),
            unsubscribe_delay: Duration::from_secs(5),
            gzip: true,
            shards: 0,
        }
    }
}
