//! Revoked tokens: the revocations that this node knows, and the task that reads them.
//!
//! The log of revocations decides. A node reads it when it starts, periodically, and when another node says that it has
//! new entries; such a message may be lost. A node that cannot read it goes on with the revocations that it knows. A log
//! that lost entries, as after a failover, gets them back from the nodes that know them.
//!
//! # Layout
//!
//! - `reader`: the task
//! - [`metrics`]: metrics of revocations
//! - [`stream_token`]: the token of a stream, which may be revoked or replaced

pub mod metrics;
mod reader;
pub mod stream_token;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fanfare_broker::clock::unix_ms;
use fanfare_broker::credential_store::{Append, Appended};
use fanfare_broker::{Broker, BrokerError, NodeId};
use fanfare_protocol::User;
use fanfare_protocol::revocation::{Revocation, RevocationSet, Revoked, TokenStamp};
use fanfare_protocol::session::Control;
use tokio::sync::Notify;

use self::metrics::RevocationMetrics;
pub use self::reader::{CheckTokens, RevocationReader};

/// Settings of [`Revocations`].
#[derive(Clone, Debug)]
pub struct RevocationSettings {
    /// The node id.
    pub node: NodeId,
    /// Interval between reads of the log.
    pub interval: Duration,
    /// Longest life of a token, after which its revocation is forgotten; `None` keeps revocations forever.
    pub keep: Option<Duration>,
    /// Maximum number of revocations.
    pub limit: usize,
}

/// Why a token is refused although its signature and claims are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It is revoked.
    Revoked,
    /// The node has not read the revocations yet.
    NotLoaded,
}

/// Why a token could not be revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The log of revocations is full.
    #[error("there are {0} revocations, which is the limit (auth.revocations)")]
    Full(usize),
    /// The broker did not carry out the call, or its outcome is unknown.
    #[error("cannot revoke: {0}")]
    Broker(BrokerError),
}

/// The revocations that a node knows. Clones are handles of the same set, which lives as long as the node.
#[derive(Clone)]
pub struct Revocations {
    shared: Arc<Shared>,
}

struct Shared {
    broker: Arc<dyn Broker>,
    settings: RevocationSettings,
    set: RwLock<RevocationSet>,
    /// Whether the whole log was read once.
    loaded: AtomicBool,
    /// Whether revocations were added since streams were last checked.
    added: AtomicBool,
    /// Wakes the reader.
    wake: Notify,
    metrics: RevocationMetrics,
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("known", &self.len()).finish_non_exhaustive()
    }
}

impl Revocations {
    /// Creates a set that knows nothing. [`RevocationReader::start`] fills it.
    pub fn new(broker: Arc<dyn Broker>, settings: RevocationSettings, metrics: RevocationMetrics) -> Self {
        let shared = Shared {
            broker,
            settings,
            set: RwLock::default(),
            loaded: AtomicBool::new(false),
            added: AtomicBool::new(false),
            wake: Notify::new(),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Checks a token of a user.
    ///
    /// # Errors
    ///
    /// Fails if it is revoked, or if the revocations have not been read yet.
    pub fn check(&self, user: &User, stamp: &TokenStamp) -> Result<(), TokenRefusal> {
        if !self.is_loaded() {
            return Err(TokenRefusal::NotLoaded);
        }
        if self.revokes(user, stamp) { Err(TokenRefusal::Revoked) } else { Ok(()) }
    }

    /// Treats the log as read, for a node that has nothing to revoke.
    pub fn skip_reading(&self) {
        self.shared.loaded.store(true, Ordering::Release);
    }

    /// Returns whether the revocations were read.
    pub fn is_loaded(&self) -> bool {
        self.shared.loaded.load(Ordering::Acquire)
    }

    /// Returns whether a token of a user is known to be revoked.
    pub(crate) fn revokes(&self, user: &User, stamp: &TokenStamp) -> bool {
        self.shared.read(|set| set.revokes(user, stamp))
    }

    /// Returns the number of revocations.
    pub fn len(&self) -> usize {
        self.shared.read(RevocationSet::len)
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores a revocation. It holds on a node once the node has read it: see [`Self::spread`].
    ///
    /// # Errors
    ///
    /// Fails if there are too many, or the broker is unavailable. May be retried.
    pub async fn store(&self, revocation: Revocation) -> Result<Revoked, RevokeError> {
        let revoked = Revoked { revocation, at: unix_ms() };
        let RevocationSettings { limit, keep, .. } = self.shared.settings;
        let append = Append { limit, keep, after: None };
        match self.shared.broker.revoke(std::slice::from_ref(&revoked), append).await {
            Ok(Appended::Done(_)) => Ok(revoked),
            Ok(Appended::Full | Appended::Moved) => Err(RevokeError::Full(limit)),
            Err(error) => Err(RevokeError::Broker(error)),
        }
    }

    /// Applies a stored revocation on this node, and asks the other nodes to read it now. A node that is not reached
    /// reads it in its next round.
    pub async fn spread(&self, revoked: &Revoked) {
        self.shared.add(revoked);
        self.wake();
        let Ok(nodes) = self.shared.broker.nodes().await else { return };
        for node in nodes.iter().filter(|node| node.id != self.shared.settings.node) {
            if let Err(error) = self.shared.broker.send(&node.id, &Control::ReadRevocations {}).await {
                tracing::debug!(node = %node.id, %error, "failed to announce a revocation");
            }
        }
    }

    /// Reads the log now.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn read<T>(&self, of: impl FnOnce(&RevocationSet) -> T) -> T {
        // A panic under the lock leaves consistent plain data.
        of(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, act: impl FnOnce(&mut RevocationSet) -> T) -> T {
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut set);
        self.metrics.known.set(i64::try_from(set.len()).unwrap_or(i64::MAX));
        result
    }

    /// Adds a revocation. Streams are checked in the reader's next round.
    fn add(&self, revoked: &Revoked) {
        if revoked.at >= self.oldest() && self.change(|set| set.add(revoked)) {
            self.added.store(true, Ordering::Release);
        }
    }

    /// Returns the time before which revocations are forgotten, in Unix milliseconds.
    fn oldest(&self) -> u64 {
        let keep = self.settings.keep.map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        keep.map_or(0, |keep| unix_ms().saturating_sub(keep))
    }
}
