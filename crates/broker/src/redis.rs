//! The broker on Redis or Valkey.
//!
//! Publishing and sessions share one pipelined connection, log reads share another, each subscriber connection is
//! separate, and a small pool serves blocking reads and rare commands. None of them is needed to start: each connects
//! when it is used, and reconnects automatically.
//!
//! # Layout
//!
//! - `settings`: address, credentials and timeouts; `url`: checks the address
//! - `prefix`: the key prefix of a cluster; `key`, `keys`: names of keys and topics
//! - `connections`: which connection serves a key; `connector`: makes every connection
//! - `shared_connection`: shared, pipelined connections; `batcher`: calls that are made together leave in one write
//! - `pool`: connections for blocking reads and rare commands
//! - `script`: the Lua scripts, in `.lua` files; `call_script`: their calls
//! - `event_log`: `publish`, with one pipeline for each batch, and `log`, for reads
//! - `subscriber`: subscriber connections to live topics
//! - `session_store`: owners of sessions
//! - `credential_store`: revocations of tokens
//! - `ack_store`: acknowledged cursors
//! - `presence_refusals`: commands about presence that Redis refused; `pipelines`: how many sessions one call is about
//! - `stream_store`: finite streams
//! - `membership`: leases of nodes; `nodes`: the set of nodes; `sweep`: sessions of dead ones; `lock`: locks that elect a
//!   node
//! - `intake_queue`: the ingest stream
//! - `library`: the function library for publishers
//! - `inspection`: what `fanfare doctor` asks Redis
//! - `metrics`: metrics of the connections
//! - `reply`, `error`: parsing of replies, classification of errors

mod ack_store;
mod batcher;
mod call_script;
mod connections;
mod connector;
mod credential_store;
mod error;
mod event_log;
mod inspection;
mod intake_queue;
mod key;
mod keys;
mod library;
mod lock;
mod log;
mod membership;
mod metrics;
mod nodes;
mod pipelines;
mod pool;
mod prefix;
mod presence_refusals;
mod publish;
mod reply;
mod script;
mod session_store;
mod settings;
mod shared_connection;
mod stream_store;
mod subscriber;
mod sweep;
mod tls;
mod url;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use uuid::Uuid;

use self::connections::Connections;
pub use self::inspection::Inspection;
use self::key::Key;
use self::keys::Keys;
use self::library::Library;
use self::pool::BlockingPool;
pub use self::prefix::{Prefix, PrefixError};
use self::presence_refusals::PresenceRefusals;
pub use self::settings::RedisSettings;
use self::shared_connection::SharedConnection;
pub use self::url::UrlError;
use crate::{BrokerError, BrokerSettings};

/// The broker on Redis. Clones share its connections.
#[derive(Clone, Debug)]
pub struct RedisBroker {
    settings: Arc<BrokerSettings>,
    redis: Arc<RedisSettings>,
    keys: Keys,
    connections: Connections,
    library: Arc<Library>,
    refusals: PresenceRefusals,
    /// Random id of this process, which distinguishes it from another process with the same node id.
    process: Uuid,
}

impl RedisBroker {
    /// Returns the connection for commands about a key, or to a topic.
    fn commands(&self, key: &Key) -> &SharedConnection {
        &self.connections.for_key(key).commands
    }

    /// Returns the connection for reads of a log.
    fn reads(&self, key: &Key) -> &SharedConnection {
        &self.connections.for_key(key).reads
    }

    /// Returns the connections for blocking reads and rare commands about a key.
    fn pool(&self, key: &Key) -> &BlockingPool {
        &self.connections.for_key(key).pool
    }

    /// Returns the grace period in milliseconds; 0 disables it.
    fn grace_ms(&self) -> u64 {
        u64::try_from(self.settings.grace.as_millis()).unwrap_or(u64::MAX)
    }

    /// Registers the metrics of the connections, and of presence.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.connections.register_metrics(registry);
        self.refusals.register(registry);
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
            connections: Connections::new(&redis)?,
            library: Arc::new(Library::new(&prefix, &settings)),
            keys: Keys::new(prefix),
            refusals: PresenceRefusals::default(),
            process: Uuid::new_v4(),
            settings: Arc::new(settings),
            redis: Arc::new(redis),
        })
    }
}
