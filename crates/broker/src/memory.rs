//! The broker in one process: the same contract without Redis, for development, tests and simulations.
//!
//! Nothing outlives the process. All state is behind one lock, which is never held across an await.
//!
//! # Layout
//!
//! A file for each trait, with its state:
//!
//! - `event_log`; `channel`: one channel's log, last position, mark and idempotency keys
//! - `live_topics`: subscriber connections of this process's nodes
//! - `session_store`; `sessions`: owners of sessions; `lifecycle`: the lifecycle stream; `presences`: who follows a channel; `silences`: in which their connections are lost
//! - `credential_store`: revocations of tokens; `tickets`: tickets of users
//! - `ack_store`: acknowledged cursors
//! - `stream_store`; `streams`: finite streams
//! - `membership`: leases and locks
//! - `intake_queue`: the ingest stream
//! - `faults`: faults of Redis, for tests and simulations; behind the feature `testing`

mod ack_store;
mod channel;
mod credential_store;
mod event_log;
#[cfg(feature = "testing")]
mod faults;
mod intake_queue;
mod lifecycle;
mod live_topics;
mod membership;
mod presences;
mod session_store;
mod sessions;
mod silences;
mod stream_store;
mod streams;
mod tickets;

#[cfg(feature = "testing")]
pub use self::faults::StreamsCopy;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_protocol::{Channel, Position};
use indexmap::IndexMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::ack_store::Acks;
use self::channel::ChannelState;
use self::credential_store::Revocations;
use self::intake_queue::Ingest;
use self::live_topics::Subscribers;
use self::membership::Leases;
use self::sessions::Sessions;
use self::streams::Streams;
use self::tickets::Tickets;
use crate::clock;
use crate::settings::BrokerSettings;

/// An entry of the lifecycle or the dead-letter stream: its id and fields.
pub type StreamEntry = (Position, Vec<(String, String)>);

/// The memory broker. Clones share one state.
#[derive(Clone, Debug)]
pub struct MemoryBroker {
    settings: Arc<BrokerSettings>,
    /// Unix milliseconds at `started`; simulations set the clock with it.
    epoch_ms: Arc<AtomicU64>,
    started: Instant,
    /// Step of the sequence numbers within a millisecond: 1, except in simulations.
    sequence_step: Arc<AtomicU64>,
    state: Arc<Mutex<State>>,
    /// Notified when an entry is added to the ingest stream.
    ingested: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    channels: IndexMap<Channel, ChannelState>,
    subscribers: Subscribers,
    leases: Leases,
    sessions: Sessions,
    ingest: Ingest,
    revocations: Revocations,
    acks: Acks,
    streams: Streams,
    tickets: Tickets,
}

impl MemoryBroker {
    /// Creates an empty broker with the system's clock.
    pub fn new(settings: BrokerSettings) -> Self {
        Self::starting_at(settings, clock::unix_ms())
    }

    /// Creates an empty broker whose clock shows `epoch_ms` (Unix milliseconds) now and goes on with tokio's time.
    pub fn starting_at(settings: BrokerSettings, epoch_ms: u64) -> Self {
        let sessions = Sessions::new(&settings);
        Self {
            settings: Arc::new(settings),
            epoch_ms: Arc::new(AtomicU64::new(epoch_ms)),
            started: Instant::now(),
            sequence_step: Arc::new(AtomicU64::new(1)),
            state: Arc::new(Mutex::new(State { sessions, ..State::default() })),
            ingested: Arc::default(),
        }
    }

    /// Adds an entry to the ingest stream, as a publisher does with `XADD fanfare:ingest`.
    pub fn ingest(&self, fields: Vec<(bytes::Bytes, bytes::Bytes)>) -> Position {
        let now = self.now();
        let id = self.state().ingest.add(now, fields);
        self.ingested.notify_waiters();
        id
    }

    /// Adds an entry with an id of the publisher's choice, greater than all before.
    pub fn ingest_as(&self, id: Position, fields: Vec<(bytes::Bytes, bytes::Bytes)>) {
        self.state().ingest.add_as(id, fields);
        self.ingested.notify_waiters();
    }

    /// Returns the number of entries of the ingest stream that are not acknowledged.
    pub fn unsettled(&self) -> usize {
        self.state().ingest.len()
    }

    /// Returns the lifecycle stream.
    pub fn lifecycle(&self) -> Vec<StreamEntry> {
        self.state().sessions.lifecycle.entries().cloned().collect()
    }

    /// Returns the dead-letter stream.
    pub fn dead(&self) -> Vec<StreamEntry> {
        self.state().ingest.dead()
    }

    /// Returns the stream of receipts.
    pub fn receipts(&self) -> Vec<StreamEntry> {
        self.state().acks.receipts.clone()
    }

    /// Returns the broker's clock, in Unix milliseconds.
    pub fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.epoch_ms.load(Ordering::Relaxed) + elapsed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves consistent plain data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
