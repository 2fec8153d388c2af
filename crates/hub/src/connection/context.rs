//! Context shared by all connections of a shard.

use std::cell::Cell;
use std::sync::Arc;

use fanfare_broker::NodeId;
use fanfare_config::bytes;
use fanfare_config::stream::StreamConfig;
use tokio::time::Instant;

use crate::connection::open_streams::OpenStreams;
use crate::connection::user_sockets::UserSockets;
use crate::connection_log::ConnectionLog;
use crate::metrics::HubMetrics;
use crate::queue_budget::QueueBudget;
use crate::retry::RetryPolicy;

/// Context of a shard, passed to its connections with each call.
pub(crate) struct ShardContext {
    pub(crate) settings: StreamConfig,
    pub(crate) retry: RetryPolicy,
    pub(crate) metrics: Arc<HubMetrics>,
    pub(crate) log: ConnectionLog,
    pub(crate) node: NodeId,
    pub(crate) open_streams: Arc<OpenStreams>,
    pub(crate) user_sockets: Arc<UserSockets>,
    /// The time of the shard's current step.
    pub(crate) now: Instant,
    /// Events queued since they were last added to the shared metrics.
    sent: Cell<u64>,
    /// The namespace to which these belong, and what follows.
    namespace: Cell<u8>,
    /// Events of earlier namespaces, by namespace.
    sent_before: Box<[Cell<u64>]>,
    gzip_saved: Cell<u64>,
    /// Bytes that sockets accepted since they were last added to the shared metrics.
    sent_bytes: Cell<u64>,
    /// Change of the streams that catch up since it was last added to the shared metrics.
    catching_up: Cell<i64>,
    queues: QueueBudget,
    /// Change of queued bytes since it was last added to the budget.
    waiting: Cell<isize>,
    /// Current maximum of bytes queued for one client.
    queue_bound: Cell<usize>,
}

impl ShardContext {
    pub(crate) fn new(
        settings: StreamConfig,
        retry: RetryPolicy,
        (metrics, log): (Arc<HubMetrics>, ConnectionLog),
        node: NodeId,
        (open_streams, user_sockets): (Arc<OpenStreams>, Arc<UserSockets>),
        queues: QueueBudget,
    ) -> Self {
        let (sent, gzip_saved) = (Cell::new(0), Cell::new(0));
        let (waiting, queue_bound) = (Cell::new(0), Cell::new(bytes(settings.queue)));
        let now = Instant::now();
        let sent_before = metrics.sent.iter().map(|_| Cell::new(0)).collect();
        Self {
            settings,
            retry,
            metrics,
            log,
            node,
            open_streams,
            user_sockets,
            now,
            sent,
            namespace: Cell::new(0),
            sent_before,
            gzip_saved,
            sent_bytes: Cell::new(0),
            catching_up: Cell::new(0),
            queues,
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

    /// Begins with events of a namespace.
    pub(crate) fn enter(&self, namespace: u8) {
        let before = self.namespace.replace(namespace);
        if before != namespace {
            let events = &self.sent_before[usize::from(before)];
            events.set(events.get() + self.sent.take());
        }
    }

    /// Returns the namespace of the current events.
    pub(super) fn namespace(&self) -> u8 {
        self.namespace.get()
    }

    /// Counts a queued event, and the bytes saved by compression.
    pub(super) fn count_sent(&self, saved: usize) {
        self.sent.set(self.sent.get() + 1);
        self.gzip_saved.set(self.gzip_saved.get() + saved as u64);
    }

    /// Counts bytes that a socket accepted.
    pub(super) fn count_bytes(&self, bytes: usize) {
        self.sent_bytes.set(self.sent_bytes.get() + bytes as u64);
    }

    /// Counts a stream that starts to catch up, or that is done.
    pub(super) fn count_catching_up(&self, starts: bool) {
        self.catching_up.set(self.catching_up.get() + if starts { 1 } else { -1 });
    }

    /// Adds the bytes that sockets accepted to the metrics.
    pub(crate) fn publish_bytes(&self) {
        let bytes = self.sent_bytes.take();
        if bytes > 0 {
            self.metrics.sent_bytes.inc_by(bytes);
        }
    }

    /// Adds the counts to the metrics and to the budget of queues.
    pub(crate) fn publish_counts(&self) {
        let waiting = self.waiting.take();
        if waiting != 0 {
            self.queues.count(waiting);
        }
        let catching_up = self.catching_up.take();
        if catching_up != 0 {
            self.metrics.catching_up.inc_by(catching_up);
        }
        self.queue_bound.set(self.queues.queue_bound(bytes(self.settings.queue)));
        let sent = self.sent.take();
        if sent > 0 {
            self.metrics.sent[self.namespace()].inc_by(sent);
        }
        for (before, metric) in self.sent_before.iter().zip(self.metrics.sent.iter()) {
            let before = before.take();
            if before > 0 {
                metric.inc_by(before);
            }
        }
        let saved = self.gzip_saved.take();
        if saved > 0 {
            self.metrics.gzip_saved.inc_by(saved);
        }
    }
}
