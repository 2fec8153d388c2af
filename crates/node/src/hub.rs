//! From the live wire to the connections.
//!
//! The hub opens the wire and spreads what it says over the writer loops, of which there is one for each core. A
//! connection belongs to one loop for all its life.
//!
//! # Layout
//!
//! In the order an event passes them:
//!
//! - `follows`: what the wire says, and which loops it concerns
//! - `inbox`: what waits for a loop
//! - `writer`: a loop and its connections
//! - `topic`: one channel in one loop
//! - `window`: its newest events, by which connections step from the log to the wire
//! - `reads`: questions to the logs, shared by those who ask the same; `line`: whose turn it is
//! - `places`: the sockets that each user's streams have, until they are closed
//! - `wakers`: which sockets have something to do

mod follows;
mod inbox;
mod line;
pub(crate) mod places;
mod reads;
mod topic;
mod wakers;
mod window;
mod writer;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::log::PageLimit;
use fanfare_broker::wire::WireState;
use fanfare_broker::{Broker, NodeId};
use fanfare_protocol::SessionKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::follows::Follows;
use self::inbox::{Inbox, Message};
use self::places::Places;
use self::reads::Reads;
use self::writer::Writer;
use crate::config::stream::StreamConfig;
use crate::connection::Surroundings;
use crate::ending::Ending;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::read_budget::ReadBudget;
use crate::stream::{Identity, Socket, Stream};

/// The most writer loops: a channel's loops are bits of one number.
const MAX_WRITERS: usize = 64;

/// What the hub is told.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// How streams behave.
    pub stream: StreamConfig,
    /// The most data an ephemeral event may have, in bytes; one that has more is dropped and counted as malformed.
    pub max_ephemeral: usize,
    /// The random part of the `retry:` of a client that is sent away because the node leaves.
    pub leave_spread: Duration,
    /// How many sockets a user's streams may have for those that ended to wait for their clients to close.
    pub sockets_per_user: usize,
    /// How many ended streams may do so in all.
    pub lingering: usize,
    /// What may wait for all streams together.
    pub memory: Memory,
}

/// The node's hub. Clones are handles of one hub, which runs until [`Hub::shutdown`].
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    follows: Arc<Follows>,
    metrics: Arc<Metrics>,
    budget: Arc<ReadBudget>,
    /// Chooses a session's loop. Seeded at random, so that clients cannot choose theirs.
    spread: foldhash::fast::FixedState,
    /// Joined by `shutdown`.
    writers: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("writers", &self.inner.follows.inboxes.len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts the hub: opens the wire and spawns the writer loops. Commands from the node's control topic go to
    /// `control`; one that finds it full is dropped and counted.
    pub fn start(
        broker: &Arc<dyn Broker>,
        node: &NodeId,
        settings: &HubSettings,
        metrics: &Arc<Metrics>,
        control: mpsc::Sender<Bytes>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let HubSettings { stream, max_ephemeral, .. } = settings;
        let count = if stream.shards == 0 { cores } else { stream.shards }.min(MAX_WRITERS);
        let inboxes = (0..count).map(|_| Arc::default()).collect::<Vec<Arc<Inbox>>>();
        let inbox_bytes = usize::try_from(stream.shard_queue.as_u64()).unwrap_or(usize::MAX);
        let follows =
            Arc::new(Follows::new(inboxes, inbox_bytes, *max_ephemeral, control, Arc::clone(metrics)));
        // Weak, since the table holds the wire and the wire's task holds this.
        let sink = Arc::downgrade(&follows);
        let wire = broker.wire(
            node,
            Box::new(move |event| {
                if let Some(follows) = sink.upgrade() {
                    follows.take(event);
                }
            }),
        );
        follows.attach(wire);
        let budget = Arc::new(ReadBudget::new(stream.max_log_read_bytes));
        let places = Places::new(settings.sockets_per_user, settings.lingering, Arc::clone(metrics));
        let writers = (0..count)
            .map(|index| {
                let (metrics, node) = (Arc::clone(metrics), node.clone());
                let (places, memory) = (Arc::clone(&places), settings.memory.clone());
                let around =
                    Surroundings::new(stream.clone(), settings.leave_spread, metrics, node, places, memory);
                let bytes = usize::try_from(stream.page_bytes.as_u64()).unwrap_or(usize::MAX);
                let page = PageLimit { entries: stream.page_events, bytes };
                let reads = Reads::new(
                    Arc::clone(broker),
                    Arc::clone(&budget),
                    stream.max_log_reads.div_ceil(count),
                    page,
                );
                tokio::spawn(Writer::new(index, around, Arc::clone(&follows), reads).run())
            })
            .collect();
        let inner = Inner {
            follows,
            metrics: Arc::clone(metrics),
            budget,
            spread: foldhash::fast::FixedState::with_seed(fastrand::u64(..)),
            writers: Mutex::new(writers),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Serves a stream on a socket until one of them ends. An older stream of the same identity on this node is
    /// superseded. Once the hub has ended, both are dropped.
    pub fn open(&self, stream: Stream, socket: Box<dyn Socket>) {
        // Counted here and not when its loop takes it in, so that a storm of them does not pass the limit unseen.
        self.inner.metrics.active.inc();
        if !self.inbox_of(&stream.identity()).push(Message::Open(Box::new(stream), socket)) {
            self.inner.metrics.active.dec();
            self.inner.metrics.count_end(Ending::Shutdown);
        }
    }

    /// Ends a session's stream on this node, if there is one and its claim's epoch is below `below`.
    pub fn end(&self, session: SessionKey, below: u64, ending: Ending) {
        let identity = Identity::from(session);
        self.inbox_of(&identity).push(Message::End { identity, below, ending });
    }

    /// Returns the state of the wire, and news of it.
    pub fn wire(&self) -> watch::Receiver<WireState> {
        self.inner.follows.state.subscribe()
    }

    /// Waits, for ever if need be, until a writer loop broke: its share of sessions can be served by nobody here.
    pub async fn broken(&self) {
        self.inner.follows.broken.cancelled().await;
    }

    /// Returns what may be read of logs at once. The hub's streams share it with whatever else reads logs.
    pub fn budget(&self) -> Arc<ReadBudget> {
        Arc::clone(&self.inner.budget)
    }

    /// Returns how many streams are open.
    pub fn connections(&self) -> usize {
        usize::try_from(self.inner.metrics.active.get()).unwrap_or_default()
    }

    /// Sends every stream away, in even waves over `window`: each is written out, told `shutdown` with a `retry:` of
    /// its own, and ended. Waits until the last has been told.
    pub async fn drain(&self, window: Duration) {
        let until = Instant::now() + window;
        let (done, mut all_done) = mpsc::channel(1);
        for inbox in &self.inner.follows.inboxes {
            inbox.push(Message::Drain { until, done: done.clone() });
        }
        drop(done);
        // Nothing is ever sent: it ends when every loop has dropped its end.
        let _ = all_done.recv().await;
    }

    /// Ends every stream, and then the writer loops and the wire. Waits until all have ended: at most as long as
    /// clients may linger.
    pub async fn shutdown(&self, ending: Ending) {
        for inbox in &self.inner.follows.inboxes {
            inbox.push(Message::Close(ending));
        }
        let writers = std::mem::take(&mut *self.inner.writers.lock().unwrap_or_else(PoisonError::into_inner));
        for writer in writers {
            if let Err(error) = writer.await {
                tracing::error!(%error, "shard task panicked");
            }
        }
        self.inner.follows.close().await;
    }

    fn inbox_of(&self, identity: &Identity) -> &Inbox {
        let inboxes = &self.inner.follows.inboxes;
        // Fewer than 64 of them: the remainder fits.
        let index = self.inner.spread.hash_one(identity) % inboxes.len() as u64;
        &inboxes[usize::try_from(index).unwrap_or_default()]
    }
}
