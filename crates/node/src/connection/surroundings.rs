//! What all connections of a writer loop share, and the last word to each.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::NodeId;
use fanfare_protocol::SessionId;
use fanfare_protocol::sse::Block;
use tokio::time::Instant;

use crate::config::bytes;
use crate::config::stream::StreamConfig;
use crate::ending::Ending;
use crate::hub::places::Places;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::retry::{LEAVE_RETRY, jittered_ms};

/// The least `retry:` of a client whose session another connection has. A native `EventSource` cannot be told to stay
/// away, and two that share a session would take it from each other with each reconnect.
const SUPERSEDED_RETRY: Duration = Duration::from_mins(10);

/// What a connection is given of its loop's, each time it needs it.
pub(crate) struct Surroundings {
    pub(crate) settings: StreamConfig,
    /// The random part of the `retry:` of a client that is sent away because the node leaves.
    pub(crate) leave_spread: Duration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node: NodeId,
    pub(crate) places: Arc<Places>,
    /// The time, as far as connections care: that of the loop's present step.
    pub(crate) now: Instant,
    /// What was queued since it was last added to the metrics, which all loops share: a loop counts by itself.
    sent: Cell<u64>,
    gzip_saved: Cell<u64>,
    memory: Memory,
    /// Bytes that came to the connections' queues, or left them, since they were last added to the node's memory.
    waiting: Cell<isize>,
    /// How many bytes may wait for one client now.
    queue_bound: Cell<usize>,
}

impl Surroundings {
    pub(crate) fn new(
        settings: StreamConfig,
        leave_spread: Duration,
        metrics: Arc<Metrics>,
        node: NodeId,
        places: Arc<Places>,
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
            places,
            now,
            sent,
            gzip_saved,
            memory,
            waiting,
            queue_bound,
        }
    }

    /// Returns how many bytes may wait for one client now: fewer while the node's memory is short.
    pub(super) fn queue_bound(&self) -> usize {
        self.queue_bound.get()
    }

    /// Counts bytes that came to a connection's queue, or left it.
    pub(crate) fn count_waiting(&self, more: isize) {
        self.waiting.set(self.waiting.get() + more);
    }

    /// Counts an event that was queued, and the bytes that compression saved of it.
    pub(super) fn count_sent(&self, saved: usize) {
        self.sent.set(self.sent.get() + 1);
        self.gzip_saved.set(self.gzip_saved.get() + saved as u64);
    }

    /// Adds to the metrics and to the node's memory what was counted.
    pub(crate) fn tell_counts(&self) {
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

    /// Returns a `retry:` for one client, in milliseconds: jittered, so that clients who left together do not come
    /// back together.
    pub(crate) fn retry_ms(&self) -> u64 {
        jittered_ms(self.settings.retry, self.settings.retry_spread)
    }

    /// The same for a client whose stream ends as planned: soon, since nothing is wrong.
    fn leave_retry_ms(&self) -> u64 {
        jittered_ms(LEAVE_RETRY, self.leave_spread)
    }

    /// Returns what a client is told at the end, if it can hear it.
    pub(super) fn last_block(&self, ending: Ending, session: SessionId) -> Option<Bytes> {
        let block = Block::new();
        let expired = |retry, reason| {
            (Block::new().retry(retry).event("expired"), serde_json::json!({"reason": reason}))
        };
        let (block, data) = match ending {
            Ending::Closed | Ending::WriteTimeout | Ending::PeerTimeout => return None,
            // Planned, as a drain: nothing is wrong here or elsewhere.
            Ending::Idle => expired(self.leave_retry_ms(), "idle"),
            Ending::Age => expired(self.leave_retry_ms(), "age"),
            // With the same token the client is refused, which ends a native `EventSource` for good: it is given time to
            // get another one.
            Ending::Token => expired(self.retry_ms(), "token"),
            Ending::Disconnected => (block.event("disconnected"), serde_json::json!({"session": session})),
            Ending::Superseded => {
                let retry = jittered_ms(SUPERSEDED_RETRY, SUPERSEDED_RETRY);
                (block.retry(retry).event("superseded"), serde_json::json!({"session": session}))
            }
            Ending::Shutdown => {
                (block.retry(self.leave_retry_ms()).event("shutdown"), serde_json::json!({"node": self.node}))
            }
        };
        Some(block.data(&data.to_string()))
    }
}
