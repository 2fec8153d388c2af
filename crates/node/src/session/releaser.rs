//! The one task that tells the broker what this node holds no longer, and what it still holds.
//!
//! It gives sessions up, looks after claims in doubt, and renews what is held after the lease had lapsed or the wire
//! was lost. One task does all three, because a renewal must not be under way while one of its sessions is given up:
//! it could take back what was just let go.
//!
//! Both renewals and claims in doubt go by the node's name, so they wait until the lease is held: without it another
//! process may have the name, and what is recorded as ours be its own. A release is fenced by its epoch.

use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::session::Renewed;
use fanfare_broker::{Broker, BrokerError, NodeId};
use fanfare_protocol::SessionKey;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::registry::{Doubt, Look, Registry, Release};
use crate::ending::Ending;
use crate::lease::LeaseState;
use crate::throttle::Throttle;
use fanfare_broker::backoff::Backoff;
use fanfare_broker::wire::WireState;

/// How many calls are under way at once.
const IN_FLIGHT: usize = 64;
/// How many sessions one renewal call has.
const RENEW_BATCH: usize = 250;
/// A claim in doubt is looked after no sooner: by then the call itself has reached the broker or never will.
pub(super) const DOUBT_AFTER: Duration = Duration::from_secs(5);

/// The task's state. Ends when it is told to stop and nothing is left to give up.
pub(super) struct Releaser {
    shared: Arc<Shared>,
    lease: watch::Receiver<LeaseState>,
    wire: watch::Receiver<WireState>,
    stop: CancellationToken,
    /// How often the lease had been taken, and the wire connected, when the last renewal began.
    seen: (u64, u64),
    /// Sessions that are still to be renewed; a renewal is under way while there are any.
    renewal: Vec<SessionKey>,
    backoff: Backoff,
    /// Nothing is asked of the broker before.
    pause: Option<Instant>,
    log: Throttle,
}

enum Job {
    Release(Release),
    LookAfter(Doubt),
}

enum Outcome {
    Released(Release, Result<bool, BrokerError>),
    Looked(Doubt, Result<Option<u64>, BrokerError>),
}

impl Releaser {
    pub(super) fn new(
        shared: Arc<Shared>,
        lease: watch::Receiver<LeaseState>,
        wire: watch::Receiver<WireState>,
        stop: CancellationToken,
    ) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let seen = (lease.borrow().taken, wire.borrow().connects);
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
            self.look_for_reasons_to_renew();
            let now = Instant::now();
            self.pause = self.pause.filter(|until| *until > now);
            if self.pause.is_none() {
                if self.renewal.is_empty() {
                    while jobs.len() < self.width()
                        && let Some(job) = self.next_job(now)
                    {
                        jobs.push(perform(shared.broker.as_ref(), &shared.node, job));
                    }
                } else if jobs.is_empty() {
                    self.renew_some().await;
                    continue;
                }
            }
            let stopping = self.stop.is_cancelled();
            if stopping && !self.has_lease() {
                let dropped = shared.with(Registry::forget_doubts);
                shared.metrics.doubts_dropped.inc_by(dropped as u64);
            }
            if stopping && jobs.is_empty() && shared.with(|registry| registry.is_idle()) {
                return;
            }
            let wake_at = self.wake_at(jobs.len() < self.width());
            // All are cancel-safe: a permit or a change that is not taken now stays.
            tokio::select! {
                Some(outcome) = jobs.next() => self.settle(outcome),
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

    /// Returns how many calls may be under way: one probes while the broker is away.
    fn width(&self) -> usize {
        if self.backoff.is_failing() { 1 } else { IN_FLIGHT }
    }

    /// `free`: whether another call may be under way.
    fn wake_at(&self, free: bool) -> Option<Instant> {
        // That a doubt is due is no reason to wake where it has to wait nevertheless.
        self.pause.or_else(|| {
            let looks = free && self.renewal.is_empty() && self.has_lease();
            if looks { self.shared.with(|registry| registry.next_due()) } else { None }
        })
    }

    fn next_job(&self, now: Instant) -> Option<Job> {
        let (hurry, looks) = (self.stop.is_cancelled(), self.has_lease());
        self.shared.with(|registry| {
            let release = registry.next_release().map(Job::Release);
            release.or_else(|| if looks { registry.next_doubt(now, hurry).map(Job::LookAfter) } else { None })
        })
    }

    fn look_for_reasons_to_renew(&mut self) {
        let now = (self.lease.borrow_and_update().taken, self.wire.borrow_and_update().connects);
        if now == self.seen || self.stop.is_cancelled() || !self.has_lease() {
            return;
        }
        self.seen = now;
        self.renewal = self.shared.with(|registry| registry.open());
        if !self.renewal.is_empty() {
            tracing::info!(sessions = self.renewal.len(), "renewing sessions");
        }
    }

    async fn renew_some(&mut self) {
        if self.stop.is_cancelled() || !self.has_lease() {
            // What is held is about to be given up; or all of it is renewed when the lease is taken anew.
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
        match self.shared.broker.renew(&self.shared.node, &holdings).await {
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
                    (self.shared.end)(session, epoch.saturating_add(1), Ending::Superseded);
                }
                self.renewal.truncate(from);
                self.succeed();
            }
            Err(error) if error.is_passing() => {
                metrics.renewals_retried.inc();
                self.fail(&error);
            }
            Err(error) => {
                // Each session keeps its epoch, and is fenced by it.
                metrics.renewals_refused.inc_by(holdings.len() as u64);
                self.warn("failed to renew sessions", &error);
                self.renewal.truncate(from);
            }
        }
    }

    fn settle(&mut self, outcome: Outcome) {
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
            Outcome::Looked(doubt, Ok(found)) => {
                self.succeed();
                match self.shared.with(|registry| registry.mend(&doubt, found)) {
                    Look::Clear => {
                        metrics.doubts_clear.inc();
                    }
                    Look::Mended => {
                        metrics.doubts_mended.inc();
                    }
                    Look::Busy => self.shared.doubt(doubt.session),
                }
            }
            Outcome::Looked(doubt, Err(error)) if error.is_passing() => {
                self.shared.doubt(doubt.session);
                self.fail(&error);
            }
            Outcome::Looked(_, Err(error)) => {
                metrics.doubts_dropped.inc();
                self.warn("failed to reconcile an uncertain claim", &error);
            }
        }
    }

    fn succeed(&mut self) {
        self.backoff.succeed();
        self.pause = None;
    }

    fn fail(&mut self, error: &BrokerError) {
        // Calls that were under way together fail together: that is one failure.
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

async fn perform(broker: &dyn Broker, node: &NodeId, job: Job) -> Outcome {
    match job {
        Job::Release(release) => {
            let Release { session: SessionKey { user, session }, epoch, reason, .. } = &release;
            let result = broker.release(node, user, *session, *epoch, *reason).await;
            Outcome::Released(release, result)
        }
        Job::LookAfter(doubt) => {
            let SessionKey { user, session } = &doubt.session;
            let result = broker.sessions(user).await;
            let ours = result.map(|all| {
                let ours = all.iter().find(|info| info.session == *session && info.node == *node);
                ours.map(|info| info.epoch)
            });
            Outcome::Looked(doubt, ours)
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
