//! What all clients write on, and everybody reads: how many are there, and what the present phase counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::phase::{Phase, Summary};
use crate::proof::Proof;

/// One board for a run.
#[derive(Debug)]
pub struct Board {
    /// When the run began; events carry their time of sending since then.
    began: Instant,
    open: AtomicUsize,
    given_up: AtomicUsize,
    received: AtomicU64,
    publish_errors: AtomicU64,
    /// The last is the present one. A step of a scenario adds one.
    phases: Mutex<Vec<Phase>>,
}

impl Board {
    /// Creates a board whose first phase begins now.
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

    /// Ends the present phase and begins another.
    pub fn begin(&self, label: &str) {
        self.phases().push(Phase::begin(label));
    }

    /// Returns the time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns how many streams are open: connected, and with a first block.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Returns how many clients gave up for good.
    pub fn given_up(&self) -> usize {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Returns how many deliveries came, each counted once.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Returns how often a publisher was told no, or nothing.
    pub fn publish_errors(&self) -> u64 {
        self.publish_errors.load(Ordering::Relaxed)
    }

    /// Returns what is to be said of every phase, the present one as if it ended now.
    pub fn summaries(&self) -> Vec<Summary> {
        let phases = self.phases();
        let ends = phases.iter().skip(1).map(Phase::from).chain([Instant::now()]);
        phases.iter().zip(ends).map(|(phase, end)| phase.summary(end)).collect()
    }

    /// A client connects again.
    pub(crate) fn reconnects(&self) {
        self.now(Phase::reconnects);
    }

    /// A stream is open, after so long without one.
    pub(crate) fn opened(&self, outage: Option<Duration>) {
        self.open.fetch_add(1, Ordering::Relaxed);
        if let Some(outage) = outage {
            self.now(|phase| phase.back(outage));
        }
    }

    /// An open stream has ended.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How it ended, while the run went on.
    pub(crate) fn ended(&self, clean: bool) {
        self.now(|phase| phase.ended(clean));
    }

    /// A client is told that its node leaves.
    pub(crate) fn told_shutdown(&self) {
        self.now(Phase::told_shutdown);
    }

    /// Keeps what a fault of the present phase has caused, or has not.
    pub(crate) fn prove(&self, proof: Proof) {
        self.now(|phase| phase.prove(proof));
    }

    /// Returns what the present phase has counted so far.
    pub(crate) fn so_far(&self) -> Option<Summary> {
        self.phases().last().map(|phase| phase.summary(Instant::now()))
    }

    /// A client gave up.
    pub(crate) fn gave_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// An event came; `sent` is what it carries.
    pub(crate) fn took(&self, sent: Duration, first_time: bool) {
        if first_time {
            self.received.fetch_add(1, Ordering::Relaxed);
        }
        let delay = self.elapsed().saturating_sub(sent);
        self.now(|phase| phase.received(delay));
    }

    /// A publisher was told no, or nothing.
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
