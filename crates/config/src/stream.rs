//! Settings of the streams that clients hold open: `[stream]`.

use std::time::Duration;

use bytesize::ByteSize;

use crate::Config;
use crate::check::Checks;
use crate::setting::settings;

settings! {
    /// `[stream]`: how a stream behaves, and what bounds it.
    pub struct StreamConfig = "stream", |config| config.stream => {
        /// Interval after which a comment is sent on a stream that is otherwise silent.
        heartbeat: Duration = "15s", in "1ms" to "366d";
        /// Shortest heartbeat that a client may ask for with `heartbeat=`, and that a session gets whose connections are lost in
        /// silence; not longer than `stream.heartbeat`.
        min_heartbeat: Duration = "5s", in "1ms" to "366d";
        /// How long a session has a shorter heartbeat after its connection was last lost in silence; `0s` shortens none.
        heartbeat_memory: Duration = "1h", in "0s" to "31d";
        /// Minimum `retry:` (reconnection time) sent to clients, which is the outage after a crash.
        retry: Duration = "250ms", in "1ms" to "1h";
        /// Maximum random addition to `stream.retry`, drawn for each client. It is longer while the other nodes would need
        /// longer to take this node's streams.
        retry_spread: Duration = "500ms", in "0s" to "1h";
        /// A client that reads nothing for this time although data is queued is disconnected.
        write_timeout: Duration = "30s", in "1ms" to "24h";
        /// A client whose machine acknowledges nothing for this time is disconnected; at least `stream.write_timeout`.
        peer_timeout: Duration = "30s", in "1s" to "24h";
        /// Maximum age of a stream, plus up to a tenth; `0s` disables the limit.
        max_age: Duration = "0s", in "0s" to "366d";
        /// A stream is closed after this time without an event, plus up to a tenth; `0s` disables the limit.
        idle_timeout: Duration = "0s", in "0s" to "366d";
        /// How long a client may take to close a connection that the node has ended.
        linger: Duration = "2s", in "0s" to "1h";
        /// Maximum bytes queued for one client; beyond it the client catches up from the log.
        queue: ByteSize = "64KiB", in "1KiB" to "1GiB";
        /// Maximum number of events that one log read fetches.
        page_events: usize = "100", in "1" to "10000";
        /// Maximum bytes of events that one log read fetches; a single event may be larger.
        page_bytes: ByteSize = "64KiB", in "1KiB" to "64MiB";
        /// Maximum number of concurrent log reads.
        max_log_reads: usize = "64", in "1" to "100000";
        /// Maximum bytes of concurrent log reads, for streams and the history call together.
        max_log_read_bytes: ByteSize = "4MiB", in "2MiB" to "1GiB";
        /// Number of recent events of each channel that are kept in memory.
        recent_events: usize = "64", in "1" to "100000";
        /// Maximum bytes of recent events of each channel that are kept in memory.
        recent_bytes: ByteSize = "64KiB", in "0B" to "1GiB";
        /// Maximum bytes of events queued for one shard; further events are dropped and its streams catch up from the
        /// log.
        shard_queue: ByteSize = "64MiB", in "1MiB" to "64GiB";
        /// How long the node stays subscribed to a channel after its last stream is gone.
        unsubscribe_delay: Duration = "5s", in "0s" to "24h";
        /// Whether streams are compressed for clients that accept gzip.
        gzip: bool = "true";
        /// Number of shards (event loops that own the streams), at most 64; 0 uses one for each core that the process may
        /// use. Each has a queue of `stream.shard_queue`.
        shards: usize = "0", in "0" to "64";
    }
}

impl StreamConfig {
    /// Returns the heartbeat of a stream: what the client asks for, or half of the silence in which the session's connections
    /// are lost, within the bounds.
    pub fn heartbeat_of(&self, wanted: Option<Duration>, silence: Option<Duration>) -> Duration {
        let shorter = wanted.or(silence.map(|silence| silence / 2));
        shorter.map_or(self.heartbeat, |shorter| shorter.max(self.min_heartbeat).min(self.heartbeat))
    }
}

/// Checks the timeouts of a client against each other.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    let stream = &config.stream;
    checks.hold(
        stream.peer_timeout >= stream.write_timeout,
        &["stream.peer_timeout", "stream.write_timeout"],
        "stream.peer_timeout is shorter than stream.write_timeout and would disconnect a slow client first",
        &format!("at least stream.write_timeout ({})", humantime::format_duration(stream.write_timeout)),
    );
}
