//! The task that releases and renews this node's sessions at the broker.
//!
//! It releases sessions, reconciles uncertain claims, and renews all sessions after the lease expired or the
//! subscriber connection was lost. One task does all three, because no renewal may be in progress while one of its
//! sessions is released: it could claim the session again.
//!
//! Renewals and checks of uncertain claims use the node id, so they wait until the lease is held: without the lease
//! another process may use the id, and own the sessions recorded for it. A release is fenced by its epoch.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::backoff::Backoff;
use fanfare_broker::session::CloseReason;
use fanfare_broker::session::Renewed;
use fanfare_broker::subscriber::SubscriberState;
use fanfare_broker::{BrokerError, NodeId, SessionStore};
use fanfare_protocol::SessionKey;
use fanfare_telemetry::Throttle;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::registry::{Reconciliation, Registry, Release, UncertainClaim};
use crate::lease::LeaseState;

/// Maximum number of concurrent calls.
const IN_FLIGHT: usize = 64;
/// Number of sessions in one renewal call.
const RENEW_BATCH: usize = 250;
/// Time before an uncertain claim is checked: the call has reached the broker by then, or never will.
pub(super) const RECONCILE_AFTER: Duration = Duration::from_secs(5);

/// The task's state. The task ends when it is stopped and nothing is left to release.
pub(super) struct Reconciler {
    shared: Arc<Shared>,
    lease: watch::Receiver<LeaseState>,
    wire: watch::Receiver<SubscriberState>,
    stop: CancellationToken,
    /// Number of lease acquisitions and of subscriber connects at the start of the last renewal.
    seen: (u64, u64),
    /// Sessions still to be renewed; a renewal is in progress while there are any.
    renewal: Vec<SessionKey>,
    backoff: Backoff,
    /// No call is made before this time.
    pause: Option<Instant>,
    log: Throttle,
}

enum Job {
    Release(Release),
    Check(UncertainClaim),
}

enum Outcome {
    Released(Release, Result<bool, BrokerError>),
    Checked(UncertainClaim, Result<Option<u64>, BrokerError>),
}

impl Reconciler {
    pub(super) fn new(
        shared: Arc<Shared>,
        lease: watch::Receiver<LeaseState>,
        wire: watch::Receiver<SubscriberState>,
        stop: CancellationToken,
    ) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let seen = (lease.borrow().acquisitions, wire.borrow().connects);
        Self {
            shared,
            lease,
            wire,
            stop,
            seen,
            renewal: Vec::new(),
            backoff,
            pause: None,
            log: Throttle::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut jobs = FuturesUnordered::new();
        loop {
            self.check_for_renewal();
            let now = Instant::now();
            self.pause = self.pause.filter(|until| *until > now);
            if self.pause.is_none() {
                if self.renewal.is_empty() {
                    while jobs.len() < self.concurrency()
                        && let Some(job) = self.next_job(now)
                    {
                        jobs.push(perform(shared.store.as_ref(), &shared.node, job));
                    }
                } else if jobs.is_empty() {
                    self.renew_batch().await;
                    continue;
                }
            }
            let stopping = self.stop.is_cancelled();
            if stopping && !self.has_lease() {
                let dropped = shared.with(Registry::drop_uncertain);
                shared.metrics.uncertain_dropped.inc_by(dropped as u64);
            }
            if stopping && jobs.is_empty() && shared.with(|registry| registry.is_idle()) {
                return;
            }
            let wake_at = self.wake_at(jobs.len() < self.concurrency());
            // All branches are cancel-safe: a permit or a change that was not received is kept.
            tokio::select! {
                Some(outcome) = jobs.next() => self.handle_outcome(outcome),
                () = shared.wake.notified() => {}
                Ok(()) = self.lease.changed() => {}
                Ok(()) = self.wire.changed() => {}
                () = sleep_until(wake_at) => {}
                () = self.stop.cancelled(), if !stopping => {}
            }
        }
    }

    fn has_lease(&self) -> bool {
        self.lease.borrow().held()
    }

    /// Returns the maximum number of concurrent calls: a single one while the broker is unavailable.
    fn concurrency(&self) -> usize {
        if self.backoff.is_failing() { 1 } else { IN_FLIGHT }
    }

    /// Returns when to wake. `free`: another call may start.
    fn wake_at(&self, free: bool) -> Option<Instant> {
        // A due claim is no reason to wake while no call may start.
        self.pause.or_else(|| {
            let may_check = free && self.renewal.is_empty() && self.has_lease();
            if may_check { self.shared.with(|registry| registry.next_due()) } else { None }
        })
    }

    fn next_job(&self, now: Instant) -> Option<Job> {
        let (hurry, may_check) = (self.stop.is_cancelled(), self.has_lease());
        self.shared.with(|registry| {
            let release = registry.next_release().map(Job::Release);
            release.or_else(|| {
                if may_check { registry.next_uncertain(now, hurry).map(Job::Check) } else { None }
            })
        })
    }

    fn check_for_renewal(&mut self) {
        let now = (self.lease.borrow_and_update().acquisitions, self.wire.borrow_and_update().connects);
        if now == self.seen || self.stop.is_cancelled() || !self.has_lease() {
            return;
        }
        self.seen = now;
        self.renewal = self.shared.with(|registry| registry.open());
        if !self.renewal.is_empty() {
            tracing::info!(sessions = self.renewal.len(), "renewing sessions");
        }
    }

    async fn renew_batch(&mut self) {
        if self.stop.is_cancelled() || !self.has_lease() {
            // All sessions are about to be released, or will be renewed when the lease is acquired again.
            self.renewal.clear();
            return;
        }
        let from = self.renewal.len().saturating_sub(RENEW_BATCH);
        let held = self.shared.with(|registry| registry.holdings(&self.renewal[from..]));
        let (claims, holdings): (Vec<_>, Vec<_>) = held.into_iter().unzip();
        if holdings.is_empty() {
            self.renewal.truncate(from);
            return;
        }
        let metrics = &self.shared.metrics;
        match self.shared.store.renew(&self.shared.node, &holdings).await {
            Ok(renewed) => {
                let mut lost = Vec::new();
                self.shared.with(|registry| {
                    for ((claim, holding), renewed) in claims.iter().zip(&holdings).zip(renewed) {
                        match renewed {
                            Renewed::Held(_) => metrics.renewals_held.inc(),
                            Renewed::Lost => metrics.renewals_lost.inc(),
                        };
                        if registry.renewed(*claim, holding, renewed) {
                            let session = SessionKey::new(holding.user.clone(), holding.session);
                            lost.push((session, holding.epoch));
                        }
                    }
                });
                for (session, epoch) in lost {
                    (self.shared.end)(session, epoch.saturating_add(1), CloseReason::Superseded);
                }
                self.renewal.truncate(from);
                self.succeed();
            }
            Err(error) if error.is_passing() => {
                metrics.renewals_retried.inc();
                self.fail(&error);
            }
            Err(error) => {
                // Each session keeps its epoch as its fencing token.
                metrics.renewals_refused.inc_by(holdings.len() as u64);
                self.warn("failed to renew sessions", &error);
                self.renewal.truncate(from);
            }
        }
    }

    fn handle_outcome(&mut self, outcome: Outcome) {
        let metrics = Arc::clone(&self.shared.metrics);
        match outcome {
            Outcome::Released(release, Ok(done)) => {
                if done {
                    metrics.releases_done.inc()
                } else {
                    metrics.releases_stale.inc()
                };
                self.shared.with(|registry| registry.released(&release));
                self.succeed();
            }
            Outcome::Released(release, Err(error)) if error.is_passing() => {
                metrics.releases_retried.inc();
                self.shared.with(|registry| registry.retry(&release));
                self.fail(&error);
            }
            Outcome::Released(release, Err(error)) => {
                metrics.releases_refused.inc();
                self.shared.with(|registry| registry.released(&release));
                self.warn("failed to release a session", &error);
            }
            Outcome::Checked(uncertain, Ok(found)) => {
                self.succeed();
                match self.shared.with(|registry| registry.reconcile(&uncertain, found)) {
                    Reconciliation::NotClaimed => {
                        metrics.uncertain_clear.inc();
                    }
                    Reconciliation::Reconciled => {
                        metrics.uncertain_reconciled.inc();
                    }
                    Reconciliation::InProgress => self.shared.add_uncertain(uncertain.session),
                }
            }
            Outcome::Checked(uncertain, Err(error)) if error.is_passing() => {
                self.shared.add_uncertain(uncertain.session);
                self.fail(&error);
            }
            Outcome::Checked(_, Err(error)) => {
                metrics.uncertain_dropped.inc();
                self.warn("failed to reconcile an uncertain claim", &error);
            }
        }
    }

    fn succeed(&mut self) {
        self.backoff.succeed();
        self.pause = None;
    }

    fn fail(&mut self, error: &BrokerError) {
        // Concurrent calls fail together: count them as one failure.
        if self.pause.is_none() {
            self.pause = Some(Instant::now() + self.backoff.fail());
        }
        self.warn("failed to release or renew sessions; retrying", error);
    }

    fn warn(&mut self, what: &'static str, error: &BrokerError) {
        if let Some(held_back) = self.log.admit() {
            tracing::warn!(%error, held_back, "{what}");
        }
    }
}

async fn perform(store: &dyn SessionStore, node: &NodeId, job: Job) -> Outcome {
    match job {
        Job::Release(release) => {
            let Release { session: SessionKey { user, session }, epoch, end, .. } = &release;
            let result = store.release(node, user, *session, *epoch, *end).await;
            Outcome::Released(release, result)
        }
        Job::Check(uncertain) => {
            let SessionKey { user, session } = &uncertain.session;
            let result = store.sessions(user).await;
            let ours = result.map(|all| {
                let ours = all.iter().find(|info| info.session == *session && info.node == *node);
                ours.map(|info| info.epoch)
            });
            Outcome::Checked(uncertain, ours)
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
