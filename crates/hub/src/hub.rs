//! Maps channels to local connections.
//!
//! The hub opens the subscriber connection and distributes its events to the shards, one for each core. A connection
//! belongs to one shard for its whole life.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_broker::log::{Likely, PageLimit};
use fanfare_broker::session::CloseReason;
use fanfare_broker::subscriber::SubscriberState;
use fanfare_broker::{EventLog, LiveTopics, NodeId};
use fanfare_config::bytes;
use fanfare_config::stream::StreamConfig;
use fanfare_coordination::control::CommandSender;
use fanfare_coordination::revocations::stream_token::Replacement;
use fanfare_protocol::SessionKey;
use fanfare_telemetry::traces::Tracer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::connection::ShardContext;
use crate::connection::open_streams::OpenStreams;
use crate::connection::user_sockets::UserSockets;
use crate::connection_log::ConnectionLog;
use crate::inbox::{Inbox, Message};
use crate::log_reads::LogReads;
use crate::metrics::HubMetrics;
use crate::queue_budget::QueueBudget;
use crate::read_budget::ReadBudget;
use crate::retry::RetryPolicy;
use crate::shard::Shard;
use crate::stream::{Identity, NewStream, Transport};
use crate::subscription_table::SubscriptionTable;

/// Maximum number of shards: the shards of a channel are bits of one number.
const MAX_SHARDS: usize = 64;

/// Number of connections that a fan-out fetches from memory at a time (ADR 8).
pub const PREFETCH: usize = 16;

/// Settings of the hub.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// Settings of streams.
    pub stream: StreamConfig,
    /// Maximum size of an event's data, in bytes. A larger ephemeral event is dropped and counted as malformed.
    pub max_data: usize,
    /// The `retry:` of clients.
    pub retry: RetryPolicy,
    /// The log of ended connections.
    pub log: ConnectionLog,
    /// Makes the spans of traced events.
    pub tracer: Tracer,
    /// Maximum number of sockets of a user's streams, lingering ones included.
    pub sockets_per_user: usize,
    /// Maximum number of lingering sockets.
    pub lingering: usize,
    /// Budget of the queues of all streams.
    pub queues: QueueBudget,
    /// Number of connections that a fan-out fetches from memory at a time, or 0. Nodes use [`PREFETCH`].
    pub prefetch: usize,
}

/// The node's hub. Clones are handles of the same hub, which runs until [`Hub::shutdown`].
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    table: Arc<SubscriptionTable>,
    metrics: Arc<HubMetrics>,
    open_streams: Arc<OpenStreams>,
    budget: Arc<ReadBudget>,
    /// Assigns sessions to shards. Seeded at random, so that clients cannot choose their shard.
    spread: foldhash::fast::FixedState,
    /// Joined by `shutdown`.
    shards: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("shards", &self.inner.table.inboxes.len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts the hub: opens the subscriber connection and spawns the shards. Messages of the node's control topic go to
    /// `control`.
    pub fn start(
        log: &Arc<dyn EventLog>,
        live: &dyn LiveTopics,
        node: &NodeId,
        settings: &HubSettings,
        metrics: &Arc<HubMetrics>,
        control: CommandSender,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let HubSettings { stream, max_data, .. } = settings;
        let count = if stream.shards == 0 { cores } else { stream.shards }.min(MAX_SHARDS);
        let inboxes = (0..count).map(|_| Arc::new(Inbox::new(metrics.shard_queue_bytes.clone()))).collect();
        let inbox_bytes = bytes(stream.shard_queue);
        let table = Arc::new(SubscriptionTable::new(
            inboxes,
            (inbox_bytes, *max_data),
            control,
            Arc::clone(metrics),
            settings.tracer.clone(),
        ));
        // Weak, since the table owns the subscriber connection, whose task owns this.
        let sink = Arc::downgrade(&table);
        let wire = live.open_subscriber(
            node,
            Box::new(move |event| {
                if let Some(table) = sink.upgrade() {
                    table.handle(event);
                }
            }),
        );
        table.attach(wire);
        let budget = Arc::new(ReadBudget::new(stream.max_log_read_bytes, *max_data, Arc::clone(metrics)));
        let open_streams = OpenStreams::new(Arc::clone(metrics));
        let user_sockets =
            UserSockets::new(settings.sockets_per_user, settings.lingering, Arc::clone(metrics));
        let shards = (0..count)
            .map(|index| {
                let (metrics, node) = ((Arc::clone(metrics), settings.log.clone()), node.clone());
                let sockets = (Arc::clone(&open_streams), Arc::clone(&user_sockets));
                let queues = settings.queues.clone();
                let context =
                    ShardContext::new(stream.clone(), settings.retry.clone(), metrics, node, sockets, queues);
                let page = PageLimit {
                    entries: stream.page_events,
                    bytes: bytes(stream.page_bytes),
                    likely: Likely::Long,
                };
                let reads = LogReads::new(
                    Arc::clone(log),
                    Arc::clone(&budget),
                    stream.max_log_reads.div_ceil(count),
                    page,
                );
                tokio::spawn(Shard::new(index, context, Arc::clone(&table), reads, settings.prefetch).run())
            })
            .collect();
        let inner = Inner {
            table,
            metrics: Arc::clone(metrics),
            open_streams,
            budget,
            spread: foldhash::fast::FixedState::with_seed(fastrand::u64(..)),
            shards: Mutex::new(shards),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Serves a stream until it or its socket ends. Supersedes an older stream of the same identity on this
    /// node. Drops both if the hub has ended.
    pub fn open(&self, stream: NewStream, transport: Transport) {
        // Counted here and not in the shard, so that many simultaneous connects cannot exceed the limit.
        self.inner.open_streams.add();
        let begun = stream.begun;
        if !self.inbox_of(&stream.identity()).push(Message::Open(Box::new((stream, transport)))) {
            self.inner.open_streams.remove(1);
            self.inner.metrics.count_end(CloseReason::Shutdown, begun);
        }
    }

    /// Ends a session's stream on this node, if there is one and its claim's epoch is below `below`.
    pub fn end(&self, session: SessionKey, below: u64, reason: CloseReason) {
        let identity = Identity::from(session);
        self.inbox_of(&identity).push(Message::End { identity, below, reason });
    }

    /// Replaces the token of a session's stream on this node, if there is one.
    pub fn replace_token(&self, session: SessionKey, replacement: Replacement) {
        let identity = Identity::from(session);
        self.inbox_of(&identity).push(Message::Replace(Box::new((identity, replacement))));
    }

    /// Ends the streams whose tokens are revoked.
    pub fn check_tokens(&self) {
        for inbox in &self.inner.table.inboxes {
            inbox.push(Message::CheckTokens);
        }
    }

    /// Returns the state of the subscriber connection, as a watch.
    pub fn wire(&self) -> watch::Receiver<SubscriberState> {
        self.inner.table.state.subscribe()
    }

    /// Waits until a shard task panicked: this node can no longer serve its sessions.
    pub async fn broken(&self) {
        self.inner.table.broken.cancelled().await;
    }

    /// Returns the budget of concurrent log reads, which streams share with history calls.
    pub fn budget(&self) -> Arc<ReadBudget> {
        Arc::clone(&self.inner.budget)
    }

    /// Returns the number of open streams.
    pub fn connections(&self) -> usize {
        self.inner.open_streams.count()
    }

    /// Closes all streams in even waves over `window`: flushes each stream, sends `shutdown` with a random `retry:`,
    /// and ends it. Waits until the last stream was sent `shutdown`.
    pub async fn drain(&self, window: Duration) {
        let until = Instant::now() + window;
        let (done, mut all_done) = mpsc::channel(1);
        for inbox in &self.inner.table.inboxes {
            inbox.push(Message::Drain { until, done: done.clone() });
        }
        drop(done);
        // Nothing is ever sent: `recv` returns when every shard has dropped its sender.
        let _ = all_done.recv().await;
    }

    /// Ends all streams, then the shards and the subscriber connection. Waits until all have ended: at most
    /// `stream.linger`.
    pub async fn shutdown(&self, reason: CloseReason) {
        for inbox in &self.inner.table.inboxes {
            inbox.push(Message::Close(reason));
        }
        let shards = std::mem::take(&mut *self.inner.shards.lock().unwrap_or_else(PoisonError::into_inner));
        for shard in shards {
            if let Err(error) = shard.await {
                tracing::error!(%error, "shard task panicked");
            }
        }
        self.inner.table.close().await;
    }

    fn inbox_of(&self, identity: &Identity) -> &Inbox {
        let inboxes = &self.inner.table.inboxes;
        // There are at most 64 shards, so the remainder fits.
        let index = self.inner.spread.hash_one(identity) % inboxes.len() as u64;
        &inboxes[usize::try_from(index).unwrap_or_default()]
    }
}
