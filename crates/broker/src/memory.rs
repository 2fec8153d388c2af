//! The broker in one process: the same contract without Redis, for development, tests and simulations.
//!
//! Nothing outlives the process. All state is behind one lock, which is never held across an await.
//!
//! # Layout
//!
//! - `channel`: one channel's log, last position, mark and idempotency keys
//! - `sessions`: owners of sessions, and the lifecycle stream
//! - `cluster`: leases and locks
//! - `intake`: the ingest stream
//! - `wire`: subscriber connections of this process's nodes
//! - `faults`: faults for simulations

mod channel;
mod cluster;
mod faults;
mod intake;
mod sessions;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::session::Control;
use fanfare_protocol::start::From;
use fanfare_protocol::wire::Frame;
use fanfare_protocol::{Channel, Entry, Event, Position, SessionId, User};
use indexmap::IndexMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::channel::ChannelState;
use self::cluster::Cluster;
use self::intake::Ingest;
use self::sessions::Sessions;
use self::wire::Wires;
use crate::broker::Published;
use crate::intake::{IntakeEntry, Intaken, Placed, Reading, Rejected};
use crate::lease::{Lease, NodeId, NodeInfo, Swept};
use crate::log::{Page, PageLimit};
use crate::session::{Claim, Claimed, CloseReason, Holding, Renewed, SessionInfo};
use crate::settings::BrokerSettings;
use crate::wire::{Wire, WireSink};
use crate::{Broker, BrokerError, clock};

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
    wires: Wires,
    cluster: Cluster,
    sessions: Sessions,
    ingest: Ingest,
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
        self.state().sessions.lifecycle.iter().cloned().collect()
    }

    /// Returns the dead-letter stream.
    pub fn dead(&self) -> Vec<StreamEntry> {
        self.state().ingest.dead.iter().cloned().collect()
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

    fn publish_one(&self, publication: Publication) -> Published {
        let Publication { channel, event, key, ephemeral } = publication;
        let mut state = self.state();
        if ephemeral {
            state.wires.message(&channel, &Frame::Ephemeral(event));
            return Published { position: None, repeat: false, created: false };
        }
        self.append(&mut state, &channel, event, key)
    }

    fn publish_placed(&self, reading: &Reading, placed: Placed) -> Intaken {
        let Placed { id, after, publication } = placed;
        let Publication { channel, event, key, .. } = publication;
        let mut state = self.state();
        let log = state.channels.entry(channel.clone()).or_default();
        log.age(self.now(), &self.settings.retention.of(&channel));
        let newest = log.newest_of(&reading.generation);
        if newest.is_some_and(|newest| id <= newest) {
            return Intaken::Repeat;
        }
        if after > newest {
            return Intaken::HeldUp;
        }
        log.mark = Some((Arc::clone(&reading.generation), id));
        if self.append(&mut state, &channel, event, key).repeat {
            Intaken::Repeat
        } else {
            Intaken::Published
        }
    }

    fn append(&self, state: &mut State, channel: &Channel, event: Event, key: Option<String>) -> Published {
        let now = self.now();
        let retention = self.settings.retention.of(channel);
        let log = state.channels.entry(channel.clone()).or_default();
        log.age(now, &retention);
        if let Some(position) = key.as_ref().and_then(|key| log.seen(key, now)) {
            return Published { position: Some(position), repeat: true, created: false };
        }
        let entry = log.append(now, self.sequence_step.load(Ordering::Relaxed), event, &retention);
        if let Some(key) = key {
            log.remember(key, entry.position, now, self.settings.once);
        }
        let position = entry.position;
        state.wires.message(channel, &Frame::Kept(Entry::clone(&entry)));
        Published { position: Some(position), repeat: false, created: entry.previous == Position::ZERO }
    }

    /// Reads one channel's log after dropping expired events; an unknown channel is empty.
    fn read<T>(&self, channel: &Channel, read: impl FnOnce(&ChannelState) -> T) -> T {
        let now = self.now();
        let retention = self.settings.retention.of(channel);
        let mut state = self.state();
        match state.channels.get_mut(channel) {
            Some(log) => {
                log.age(now, &retention);
                read(log)
            }
            None => read(&ChannelState::default()),
        }
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>> {
        batch.into_iter().map(|publication| Ok(self.publish_one(publication))).collect()
    }

    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>> {
        let publish = |publication: Publication| {
            let is_known = publication.ephemeral
                || self.read(&publication.channel, |log| log.last > Position::ZERO || !log.log.is_empty());
            Ok(is_known.then(|| self.publish_one(publication)))
        };
        batch.into_iter().map(publish).collect()
    }

    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError> {
        Ok(self.read(channel, |log| log.page(after, limit, self.now())))
    }

    async fn locate(&self, channel: &Channel, from: From) -> Result<Position, BrokerError> {
        Ok(self.read(channel, |log| log.locate(from)))
    }

    fn wire(&self, node: &NodeId, sink: WireSink) -> Wire {
        wire::open(Arc::clone(&self.state), node.clone(), sink)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        let claimed = state.sessions.claim(claim, now);
        if let Claimed::Held { epoch, from: Some(from) } = &claimed
            && *from != claim.node
        {
            let Claim { user, session, .. } = claim;
            let command = Control::Supersede { user: user.clone(), session: *session, epoch: *epoch };
            state.wires.control(from, &command);
        }
        state.sessions.trim(self.settings.lifecycle_events);
        Ok(claimed)
    }

    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        reason: CloseReason,
    ) -> Result<bool, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        let released = state.sessions.release((node, user, session, epoch), reason, self.settings.grace, now);
        state.sessions.trim(self.settings.lifecycle_events);
        Ok(released)
    }

    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        Ok(held.iter().map(|holding| state.sessions.renew(node, holding, now)).collect())
    }

    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
        Ok(self.state().sessions.of(user))
    }

    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError> {
        self.state().wires.control(node, command);
        Ok(())
    }

    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<Lease, BrokerError> {
        let mut state = self.state();
        let State { cluster, sessions, .. } = &mut *state;
        Ok(cluster.lease(sessions, info, ttl))
    }

    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError> {
        self.state().cluster.leave(info);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError> {
        Ok(self.state().cluster.nodes())
    }

    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        let State { cluster, sessions, .. } = &mut *state;
        let swept = cluster.sweep(sessions, node, ttl, (self.settings.grace, now));
        state.sessions.trim(self.settings.lifecycle_events);
        Ok(swept)
    }

    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError> {
        Ok(self.state().ingest.lead(node, ttl))
    }

    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError> {
        self.state().ingest.resign(node);
        Ok(())
    }

    async fn read_intake(&self, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
        let reading = self.state().ingest.read(node);
        // Wakes readers of earlier readings, which have ended.
        self.ingested.notify_waiters();
        Ok(reading)
    }

    async fn take_intake(
        &self,
        reading: &Reading,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<IntakeEntry>, BrokerError> {
        let deadline = Instant::now() + wait;
        loop {
            // Created before the check, so that an entry added in between is not missed.
            let mut added = std::pin::pin!(self.ingested.notified());
            added.as_mut().enable();
            let taken = self.state().ingest.take(reading, limit)?;
            if !taken.is_empty() || tokio::time::timeout_at(deadline, added).await.is_err() {
                return Ok(taken);
            }
        }
    }

    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<Placed>,
    ) -> Vec<Result<Intaken, BrokerError>> {
        entries.into_iter().map(|placed| Ok(self.publish_placed(reading, placed))).collect()
    }

    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError> {
        let now = self.now();
        self.state().ingest.reject(reading, rejected, now, &self.settings)
    }

    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError> {
        self.state().ingest.settle(reading, &published)
    }

    async fn prepare(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}
