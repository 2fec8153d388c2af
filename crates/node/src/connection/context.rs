//! Context shared by all connections of a shard, and last events.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::NodeId;
use fanfare_broker::session::CloseReason;
use fanfare_config::bytes;
use fanfare_config::stream::StreamConfig;
use fanfare_protocol::SessionId;
use fanfare_protocol::sse::Block;
use tokio::time::Instant;

use crate::connection::open_streams::OpenStreams;
use crate::connection::user_sockets::UserSockets;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::retry::{LEAVE_RETRY, jittered_ms};

/// Minimum `retry:` of a client whose session was superseded. A native `EventSource` always reconnects, and two
/// clients with the same session would supersede each other with each reconnect.
const SUPERSEDED_RETRY: Duration = Duration::from_mins(10);

/// Context of a shard, passed to its connections with each call.
pub(crate) struct ShardContext {
    pub(crate) settings: StreamConfig,
    /// Maximum random part of the `retry:` of a draining node's clients.
    pub(crate) leave_spread: Duration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node: NodeId,
    pub(crate) open_streams: Arc<OpenStreams>,
    pub(crate) user_sockets: Arc<UserSockets>,
    /// The time of the shard's current step.
    pub(crate) now: Instant,
    /// Events queued since they were last added to the shared metrics.
    sent: Cell<u64>,
    gzip_saved: Cell<u64>,
    memory: Memory,
    /// Change of queued bytes since it was last added to the node's memory.
    waiting: Cell<isize>,
    /// Current maximum of bytes queued for one client.
    queue_bound: Cell<usize>,
}

impl ShardContext {
    pub(crate) fn new(
        settings: StreamConfig,
        leave_spread: Duration,
        metrics: Arc<Metrics>,
        node: NodeId,
        (open_streams, user_sockets): (Arc<OpenStreams>, Arc<UserSockets>),
        memory: Memory,
    ) -> Self {
        let (sent, gzip_saved) = (Cell::new(0), Cell::new(0));
        let (waiting, queue_bound) = (Cell::new(0), Cell::new(bytes(settings.queue)));
        let now = Instant::now();
        Self {
            settings,
            leave_spread,
            metrics,
            node,
            open_streams,
            user_sockets,
            now,
            sent,
            gzip_saved,
            memory,
            waiting,
            queue_bound,
        }
    }

    /// Returns the current maximum of bytes queued for one client, which is smaller while the node's memory is short.
    pub(super) fn queue_bound(&self) -> usize {
        self.queue_bound.get()
    }

    /// Counts a change of queued bytes.
    pub(crate) fn count_waiting(&self, more: isize) {
        self.waiting.set(self.waiting.get() + more);
    }

    /// Counts a queued event, and the bytes saved by compression.
    pub(super) fn count_sent(&self, saved: usize) {
        self.sent.set(self.sent.get() + 1);
        self.gzip_saved.set(self.gzip_saved.get() + saved as u64);
    }

    /// Adds the counts to the metrics and to the node's memory.
    pub(crate) fn publish_counts(&self) {
        let waiting = self.waiting.take();
        if waiting != 0 {
            self.memory.count_queued(waiting);
        }
        self.queue_bound.set(self.memory.queue_bound(bytes(self.settings.queue)));
        for (count, metric) in
            [(&self.sent, &self.metrics.sent), (&self.gzip_saved, &self.metrics.gzip_saved)]
        {
            let count = count.take();
            if count > 0 {
                metric.inc_by(count);
            }
        }
    }

    /// Returns the `retry:` of one client, in milliseconds, with jitter, so that clients do not reconnect together.
    pub(crate) fn retry_ms(&self) -> u64 {
        jittered_ms(self.settings.retry, self.settings.retry_spread)
    }

    /// Returns the `retry:` of a client whose stream ends as planned: short, since there is no failure.
    fn leave_retry_ms(&self) -> u64 {
        jittered_ms(LEAVE_RETRY, self.leave_spread)
    }

    /// Returns the last event for a close reason, if the client can receive one.
    pub(super) fn last_block(&self, reason: CloseReason, session: SessionId) -> Option<Bytes> {
        let block = Block::new();
        let expired = |retry, reason| {
            (Block::new().retry(retry).event("expired"), serde_json::json!({"reason": reason}))
        };
        let (block, data) = match reason {
            CloseReason::Closed
            | CloseReason::WriteTimeout
            | CloseReason::PeerTimeout
            | CloseReason::NodeLost => {
                return None;
            }
            // Planned, like a drain: there is no failure.
            CloseReason::Idle => expired(self.leave_retry_ms(), "idle"),
            CloseReason::Age => expired(self.leave_retry_ms(), "age"),
            // With the same token the client is refused, which ends a native `EventSource` permanently: give it time
            // to get a new token.
            CloseReason::Expired => expired(self.retry_ms(), "token"),
            CloseReason::Disconnected => {
                (block.event("disconnected"), serde_json::json!({"session": session}))
            }
            CloseReason::Superseded => {
                let retry = jittered_ms(SUPERSEDED_RETRY, SUPERSEDED_RETRY);
                (block.retry(retry).event("superseded"), serde_json::json!({"session": session}))
            }
            CloseReason::Shutdown => {
                (block.retry(self.leave_retry_ms()).event("shutdown"), serde_json::json!({"node": self.node}))
            }
        };
        Some(block.data(&data.to_string()))
    }
}
