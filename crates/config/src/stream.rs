//! Settings of the streams that clients hold open: `[stream]`.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// `[stream]`: how a stream behaves, and what bounds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamConfig {
    /// Interval after which a comment is sent on a stream that is otherwise silent. Default: `15s`.
    /// `FANFARE_STREAM__HEARTBEAT`.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Minimum `retry:` (reconnection time) sent to clients. Default: `2s`. `FANFARE_STREAM__RETRY`.
    #[serde(with = "humantime_serde")]
    pub retry: Duration,
    /// Maximum random addition to `stream.retry`, drawn for each client. Default: `2s`.
    /// `FANFARE_STREAM__RETRY_SPREAD`.
    #[serde(with = "humantime_serde")]
    pub retry_spread: Duration,
    /// A client that reads nothing for this time although data is queued is disconnected. Default: `30s`.
    /// `FANFARE_STREAM__WRITE_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// A client whose machine acknowledges nothing for this time is disconnected; at least `stream.write_timeout`.
    /// Default: `30s`. `FANFARE_STREAM__PEER_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub peer_timeout: Duration,
    /// Maximum age of a stream, plus up to a tenth; `0s` disables the limit. Default: `0s`.
    /// `FANFARE_STREAM__MAX_AGE`.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// A stream is closed after this time without an event, plus up to a tenth; `0s` disables the limit. Default:
    /// `0s`. `FANFARE_STREAM__IDLE_TIMEOUT`.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a client may take to close a connection that the node has ended. Default: `2s`.
    /// `FANFARE_STREAM__LINGER`.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// Maximum bytes queued for one client; beyond it the client catches up from the log. Default: `64KiB`.
    /// `FANFARE_STREAM__QUEUE`.
    pub queue: ByteSize,
    /// Maximum number of events that one log read fetches. Default: `100`. `FANFARE_STREAM__PAGE_EVENTS`.
    pub page_events: usize,
    /// Maximum bytes of events that one log read fetches; a single event may be larger. Default: `64KiB`.
    /// `FANFARE_STREAM__PAGE_BYTES`.
    pub page_bytes: ByteSize,
    /// Maximum number of concurrent log reads. Default: `64`. `FANFARE_STREAM__MAX_LOG_READS`.
    pub max_log_reads: usize,
    /// Maximum bytes of concurrent log reads, for streams and the history call together. Default: `4MiB`.
    /// `FANFARE_STREAM__MAX_LOG_READ_BYTES`.
    pub max_log_read_bytes: ByteSize,
    /// Number of recent events of each channel that are kept in memory. Default: `64`.
    /// `FANFARE_STREAM__RECENT_EVENTS`.
    pub recent_events: usize,
    /// Maximum bytes of recent events of each channel that are kept in memory. Default: `64KiB`.
    /// `FANFARE_STREAM__RECENT_BYTES`.
    pub recent_bytes: ByteSize,
    /// Maximum bytes of events queued for one shard; further events are dropped and its streams catch up from the
    /// log. Default: `64MiB`. `FANFARE_STREAM__SHARD_QUEUE`.
    pub shard_queue: ByteSize,
    /// How long the node stays subscribed to a channel after its last stream is gone. Default: `5s`.
    /// `FANFARE_STREAM__UNSUBSCRIBE_DELAY`.
    #[serde(with = "humantime_serde")]
    pub unsubscribe_delay: Duration,
    /// Whether streams are compressed for clients that accept gzip. Default: `true`. `FANFARE_STREAM__GZIP`.
    pub gzip: bool,
    /// Number of shards (event loops that own the streams); 0 uses one for each core. Default: `0`.
    /// `FANFARE_STREAM__SHARDS`.
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
