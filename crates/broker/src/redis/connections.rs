//! The connections to Redis, chosen by key.
//!
//! There is one primary today. With several, the key of a call decides which one serves it, so this file is where a
//! topology goes: every call names its key.

use ::redis::{Cmd, Value};
use prometheus_client::registry::Registry;

use super::connector::{Connector, Purpose};
use super::key::Key;
use super::pool::{BlockingPool, PoolMetrics};
use super::script::Script;
use super::settings::RedisSettings;
use super::shared_connection::SharedConnection;
use crate::BrokerError;

/// The connections to one primary. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Primary {
    /// Makes connections to this primary.
    pub(super) connector: Connector,
    /// For commands that write, and for probes.
    pub(super) commands: SharedConnection,
    /// For log reads, so that many readers do not delay publishers.
    pub(super) reads: SharedConnection,
    /// For blocking reads and rare commands.
    pub(super) pool: BlockingPool,
}

/// The connections to all primaries. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    primary: Primary,
}

impl Connections {
    /// Prepares the connections. Each is made when it is used.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, BrokerError> {
        let connector = Connector::new(settings)?;
        // So that no call has to send a script's text.
        let shared = |purpose| SharedConnection::new(connector.clone(), purpose, Script::load_all());
        let (commands, reads) = (shared(Purpose::Commands), shared(Purpose::Reads));
        let pool = BlockingPool::new(connector.clone(), settings)?;
        Ok(Self { primary: Primary { connector, commands, reads, pool } })
    }

    /// Registers the metrics.
    pub(super) fn register_metrics(&self, registry: &mut Registry) {
        let Primary { connector, pool, .. } = &self.primary;
        connector.register_metrics(registry);
        registry.register_collector(Box::new(PoolMetrics(pool.clone())));
    }

    /// Returns the primary that has a key, or that carries a topic.
    pub(super) fn for_key(&self, _key: &Key) -> &Primary {
        &self.primary
    }

    /// Returns all primaries.
    pub(super) fn primaries(&self) -> impl Iterator<Item = &Primary> {
        std::iter::once(&self.primary)
    }

    /// Starts a batch of about this number of calls.
    pub(super) fn batch(&self, calls: usize) -> Batch<'_> {
        Batch { primary: &self.primary, calls: Vec::with_capacity(calls) }
    }
}

/// Calls that leave together, each to the primary of its key.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    primary: &'a Primary,
    calls: Vec<Cmd>,
}

impl Batch<'_> {
    /// Adds a call about a key or a topic. Calls about the same key keep their order.
    pub(super) fn add(&mut self, _key: &Key, call: Cmd) {
        self.calls.push(call);
    }

    /// Returns the number of calls.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Sends the calls, of this script or of other commands. Returns the replies in the order of the calls, including
    /// error replies.
    ///
    /// # Errors
    ///
    /// Fails if the outcome of all calls is unknown.
    pub(super) async fn send(self, script: &Script) -> Result<Vec<Value>, BrokerError> {
        self.primary.commands.call_scripts(script, self.calls).await
    }
}
