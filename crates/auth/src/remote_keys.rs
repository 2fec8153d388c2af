//! The keys of a URL with a JWK set (RFC 7517), which an issuer publishes and changes.
//!
//! A task fetches the set periodically, and at once when a token has an unknown key. Requests with known keys never wait.
//! A failure keeps the old keys, however long it lasts: tokens expire by themselves, and a provider that is away must not
//! take the cluster with it.
//!
//! # Layout
//!
//! - [`refresh`]: the task
//! - `source`: one fetch
//! - [`metrics`]: metrics of fetches

pub mod metrics;
pub mod refresh;
pub mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};

use crate::key::Key;

/// Maximum number of requests that wait for a fetch. Further ones are refused at once.
const MAX_WAITING: usize = 1000;

/// Settings of a URL with a JWK set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    /// The URL: `https`, or `http`.
    pub url: String,
    /// PEM file with the certificates to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// Interval between fetches. A shorter `Cache-Control: max-age` counts.
    pub refresh: Duration,
    /// Minimum time from the begin of a fetch to the begin of the next one.
    pub min_interval: Duration,
    /// Timeout of a fetch.
    pub timeout: Duration,
}

/// The keys of a URL. Shared by the issuer, which reads them, and the task that fetches them.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    state: watch::Sender<State>,
    /// Number of fetches that have begun.
    begun: AtomicU64,
    /// Wakes the task when a request needs a key that is not there.
    wanted: Notify,
    /// Places of requests that wait.
    places: Semaphore,
    /// Maximum time that a request waits: until a fetch may begin, and its timeout.
    patience: Duration,
}

/// The result of the last fetch.
#[derive(Clone, Debug)]
struct State {
    keys: Arc<[Key]>,
    /// Number of the last completed fetch, from 1; 0 before the first.
    completed: u64,
    /// Whether it succeeded.
    good: bool,
    /// Whether any fetch has succeeded.
    ready: bool,
}

impl RemoteKeys {
    pub(crate) fn new(settings: &RemoteSettings) -> Self {
        let state = State { keys: Arc::new([]), completed: 0, good: false, ready: false };
        Self {
            state: watch::Sender::new(state),
            begun: AtomicU64::new(0),
            wanted: Notify::new(),
            places: Semaphore::new(MAX_WAITING),
            patience: settings.min_interval + settings.timeout,
        }
    }

    /// Returns the keys of the last fetch that succeeded.
    pub(crate) fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.state.borrow().keys)
    }

    /// Returns whether any fetch has succeeded.
    pub(crate) fn is_ready(&self) -> bool {
        self.state.borrow().ready
    }

    /// Waits for a fetch that begins after the call, so that it finds every key that was published before. Returns whether
    /// it succeeded.
    pub(crate) async fn refreshed(&self) -> bool {
        let Ok(_place) = self.places.try_acquire() else { return false };
        let mut state = self.state.subscribe();
        // Before the first keys, a fetch in progress is as good as the next one.
        let (completed, ready) = (state.borrow().completed, state.borrow().ready);
        let next = if ready { self.begun.load(Ordering::SeqCst) } else { completed } + 1;
        self.wanted.notify_one();
        let fetched = tokio::time::timeout(self.patience, state.wait_for(|state| state.completed >= next));
        matches!(fetched.await, Ok(Ok(state)) if state.good)
    }

    /// Waits until a request wants keys. Cancel-safe.
    async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Begins a fetch: later requests wait for the next one. Returns its number.
    fn begin(&self) -> u64 {
        // Requests up to now wait for this fetch, so they need no other.
        let _ = futures_util::FutureExt::now_or_never(self.wanted.notified());
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Ends a fetch. `None` keeps the old keys.
    fn end(&self, number: u64, keys: Option<Vec<Key>>) {
        self.state.send_modify(|state| {
            state.completed = number;
            state.good = keys.is_some();
            if let Some(keys) = keys {
                state.keys = keys.into();
                state.ready = true;
            }
        });
    }
}
