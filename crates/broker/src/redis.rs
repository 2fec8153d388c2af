//! The broker on Redis or Valkey.
//!
//! Publishing and sessions share one pipelined connection, log reads share another, each subscriber connection is
//! separate, and a small pool serves blocking reads and rare commands. None of them is needed to start: each connects
//! when it is used, and reconnects automatically.
//!
//! # Layout
//!
//! - `settings`: address, credentials and timeouts
//! - `prefix`: the key prefix of a cluster; `keys`: the names of keys and topics
//! - `link`: the shared, pipelined connections; `gather`: batches of calls in one write
//! - `pool`: connections for blocking reads and rare commands
//! - `script`: the Lua scripts, in `.lua` files
//! - `publish`: publishing, with one pipeline for each batch
//! - `log`: log reads
//! - `wire`: subscriber connections
//! - `sessions`: claims of sessions
//! - `leases`: leases, locks and the sweep
//! - `intake`: the ingest stream
//! - `library`: the function library for publishers
//! - `reply`, `error`: parsing of replies, classification of errors

mod error;
mod gather;
mod intake;
mod keys;
mod leases;
mod library;
mod link;
mod log;
mod pool;
mod prefix;
mod publish;
mod reply;
mod script;
mod sessions;
mod settings;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::session::Control;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, Position, SessionId, User};
use uuid::Uuid;

use self::keys::Keys;
use self::library::Library;
use self::link::Link;
use self::pool::Connections;
pub use self::prefix::{Prefix, PrefixError};
use self::script::Script;
pub use self::settings::RedisSettings;
use crate::broker::Published;
use crate::intake::{IntakeEntry, Intaken, Placed, Reading, Rejected};
use crate::lease::{Lease, NodeId, NodeInfo, Swept};
use crate::log::{Page, PageLimit};
use crate::session::{Claim, Claimed, CloseReason, Holding, Renewed, SessionInfo};
use crate::wire::{Wire, WireSink};
use crate::{Broker, BrokerError, BrokerSettings};

/// The broker on Redis. Clones share its connections.
#[derive(Clone, Debug)]
pub struct RedisBroker {
    settings: Arc<BrokerSettings>,
    redis: Arc<RedisSettings>,
    keys: Keys,
    /// Connection for commands that write, and for probes.
    link: Link,
    /// Connection for log reads, so that many readers do not delay publishers.
    reads: Link,
    pool: Connections,
    library: Arc<Library>,
    /// Random id of this process, which distinguishes it from another process with the same node id.
    process: Uuid,
}

impl RedisBroker {
    /// Returns the grace period in milliseconds; 0 disables it.
    fn grace_ms(&self) -> u64 {
        u64::try_from(self.settings.grace.as_millis()).unwrap_or(u64::MAX)
    }

    /// Creates a broker. It connects when it is used.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Refused`] if the URL or the prefix is invalid, or if the URL selects another database than 0. A
    /// Redis that cannot be reached is not an error: calls return [`BrokerError::Unavailable`] until it is available.
    pub fn connect(redis: RedisSettings, settings: BrokerSettings) -> Result<Self, BrokerError> {
        let prefix = redis.check()?;
        Ok(Self {
            link: Link::new(&redis, Script::load_all())?,
            reads: Link::new(&redis, Script::load_all())?,
            pool: Connections::new(&redis)?,
            library: Arc::new(Library::new(&prefix, &settings)),
            keys: Keys::new(prefix),
            process: Uuid::new_v4(),
            settings: Arc::new(settings),
            redis: Arc::new(redis),
        })
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn publish(&self, batch: Vec<Publication>) -> Vec<Result<Published, BrokerError>> {
        publish::publish(self, batch).await
    }

    async fn publish_known(&self, batch: Vec<Publication>) -> Vec<Result<Option<Published>, BrokerError>> {
        publish::publish_known(self, batch).await
    }

    async fn page(&self, channel: &Channel, after: Position, limit: PageLimit) -> Result<Page, BrokerError> {
        log::page(self, channel, after, limit).await
    }

    async fn locate(&self, channel: &Channel, from: From) -> Result<Position, BrokerError> {
        log::locate(self, channel, from).await
    }

    fn wire(&self, node: &NodeId, sink: WireSink) -> Wire {
        wire::open(self, node, sink)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed, BrokerError> {
        sessions::claim(self, claim).await
    }

    async fn release(
        &self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        reason: CloseReason,
    ) -> Result<bool, BrokerError> {
        sessions::release(self, node, user, session, epoch, reason).await
    }

    async fn renew(&self, node: &NodeId, held: &[Holding]) -> Result<Vec<Renewed>, BrokerError> {
        sessions::renew(self, node, held).await
    }

    async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
        sessions::sessions(self, user).await
    }

    async fn send(&self, node: &NodeId, command: &Control) -> Result<(), BrokerError> {
        sessions::send(self, node, command).await
    }

    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<Lease, BrokerError> {
        leases::lease(self, info, ttl).await
    }

    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError> {
        leases::leave(self, info).await
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError> {
        leases::nodes(self).await
    }

    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError> {
        leases::sweep(self, node, ttl).await
    }

    async fn lead_intake(&self, node: &NodeId, ttl: Duration) -> Result<bool, BrokerError> {
        leases::lock(self, &script::LEAD, &self.keys.ingest_leader(), node, ttl).await
    }

    async fn resign_intake(&self, node: &NodeId) -> Result<(), BrokerError> {
        leases::unlock(self, &self.keys.ingest_leader(), node).await
    }

    async fn read_intake(&self, node: &NodeId) -> Result<Option<Reading>, BrokerError> {
        intake::read(self, node).await
    }

    async fn take_intake(
        &self,
        reading: &Reading,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<IntakeEntry>, BrokerError> {
        intake::take(self, reading, limit, wait).await
    }

    async fn publish_intake(
        &self,
        reading: &Reading,
        entries: Vec<Placed>,
    ) -> Vec<Result<Intaken, BrokerError>> {
        publish::publish_intake(self, reading, entries).await
    }

    async fn reject_intake(&self, reading: &Reading, rejected: Vec<Rejected>) -> Result<(), BrokerError> {
        intake::reject(self, reading, rejected).await
    }

    async fn settle_intake(&self, reading: &Reading, published: Vec<Position>) -> Result<(), BrokerError> {
        intake::settle(self, reading, published).await
    }

    async fn prepare(&self) -> Result<(), BrokerError> {
        library::prepare(self).await
    }
}
