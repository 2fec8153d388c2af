//! Counts shared by all clients: open streams, and the current phase.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::phase::{Phase, Summary};
use crate::proof::Proof;

/// The progress of a run.
#[derive(Debug)]
pub struct Progress {
    /// Start of the run; events carry their time of sending since then.
    began: Instant,
    open: AtomicUsize,
    given_up: AtomicUsize,
    received: AtomicU64,
    publish_errors: AtomicU64,
    /// Phases; the last one is the current one. Steps of a scenario add phases.
    phases: Mutex<Vec<Phase>>,
}

impl Progress {
    /// Creates the progress of a run whose first phase begins now.
    pub fn new(label: &str) -> Self {
        Self {
            began: Instant::now(),
            open: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            publish_errors: AtomicU64::new(0),
            phases: Mutex::new(vec![Phase::begin(label)]),
        }
    }

    /// Ends the current phase and starts another.
    pub fn begin(&self, label: &str) {
        self.phases().push(Phase::begin(label));
    }

    /// Returns the time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the number of open streams: connected, and with a first block.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns the number of clients that gave up.
    pub fn given_up(&self) -> usize {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Returns the number of deliveries, each counted once.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns the number of failed attempts to publish.
    pub fn publish_errors(&self) -> u64 {
        self.publish_errors.load(Ordering::Relaxed)
    }

    /// Returns the summaries of all phases, the current one as if it ended now.
    pub fn summaries(&self) -> Vec<Summary> {
        let phases = self.phases();
        let ends = phases.iter().skip(1).map(Phase::from).chain([Instant::now()]);
        phases.iter().zip(ends).map(|(phase, end)| phase.summary(end)).collect()
    }

    /// Counts a reconnect.
    pub(crate) fn reconnects(&self) {
        self.now(Phase::reconnects);
    }

    /// Counts an opened stream, after a time without one.
    pub(crate) fn opened(&self, outage: Option<Duration>) {
        self.open.fetch_add(1, Ordering::Relaxed);
        if let Some(outage) = outage {
            self.now(|phase| phase.back(outage));
        }
    }

    /// Counts the end of a stream.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts whether it ended cleanly, during the run.
    pub(crate) fn ended(&self, clean: bool) {
        self.now(|phase| phase.ended(clean));
    }

    /// Counts a `shutdown` event.
    pub(crate) fn count_shutdown(&self) {
        self.now(Phase::count_shutdown);
    }

    /// Records whether a fault of the current phase had its required effect.
    pub(crate) fn prove(&self, proof: Proof) {
        self.now(|phase| phase.prove(proof));
    }

    /// Returns the counts of the current phase so far.
    pub(crate) fn so_far(&self) -> Option<Summary> {
        self.phases().last().map(|phase| phase.summary(Instant::now()))
    }

    /// Counts a client that gave up.
    pub(crate) fn gave_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a received event; `sent` is its time of sending.
    pub(crate) fn took(&self, sent: Duration, first_time: bool) {
        if first_time {
            self.received.fetch_add(1, Ordering::Relaxed);
        }
        let delay = self.elapsed().saturating_sub(sent);
        self.now(|phase| phase.received(delay));
    }

    /// Counts a failed attempt to publish.
    pub(crate) fn publish_failed(&self) {
        self.publish_errors.fetch_add(1, Ordering::Relaxed);
        self.now(Phase::refused);
    }

    fn now(&self, change: impl FnOnce(&mut Phase)) {
        // There is a first one, and none is ever taken away.
        if let Some(phase) = self.phases().last_mut() {
            change(phase);
        }
    }

    fn phases(&self) -> MutexGuard<'_, Vec<Phase>> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
