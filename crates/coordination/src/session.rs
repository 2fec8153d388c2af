//! The node's sessions: claims, releases and renewals.
//!
//! # Layout
//!
//! - `registry`: the sessions that this node holds or must release
//! - `reconciler`: the task that releases and renews sessions

mod reconciler;
mod registry;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_broker::clock::unix_ms;
use fanfare_broker::session::{Claim, Claimed, CloseReason, SessionClient, SessionEnd, SessionInfo};
use fanfare_broker::subscriber::SubscriberState;
use fanfare_broker::{BrokerError, Membership, NodeId, SessionStore};
use fanfare_protocol::session::Control;
use fanfare_protocol::{Position, SessionId, SessionKey, User};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::reconciler::{RECONCILE_AFTER, Reconciler};
use self::registry::{ClaimNumber, Registry};
use crate::lease::LeaseState;
use crate::metrics::ClusterMetrics;

/// Ends a session's stream on this node, if there is one and its claim's epoch is below a number. The hub does, which
/// knows the streams.
pub type EndStream = Arc<dyn Fn(SessionKey, u64, CloseReason) + Send + Sync>;

/// A session that this node owns. Dropping it releases the session with the reason `closed`.
pub struct SessionGuard {
    shared: Arc<Shared>,
    session: SessionKey,
    epoch: u64,
    claim: ClaimNumber,
    /// The silence in which the session's connections are lost, in milliseconds; 0 if it is unknown.
    silence_ms: u32,
    /// Whether the client comes back with this session.
    named: bool,
}

impl SessionGuard {
    /// Returns the session's key.
    pub fn session(&self) -> &SessionKey {
        &self.session
    }

    /// Returns the epoch of the claim. Of two claims of a session, the one with the greater epoch is the newer one,
    /// whatever the order of their replies.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whether a newer claim of the session is known, of this or another node. Must be called once [`EndStream`]
    /// can find the stream: an earlier notification of a newer claim found no stream to end.
    pub fn is_lost(&self) -> bool {
        self.shared.with(|registry| registry.is_lost(&self.session, self.claim))
    }

    /// Returns the silence in which earlier connections of the session were lost, if at least two were lost after about as long.
    pub fn silence(&self) -> Option<Duration> {
        (self.silence_ms > 0).then(|| Duration::from_millis(self.silence_ms.into()))
    }

    /// Releases the session, in the background. The silence in which the connection was lost is recorded if the client chose
    /// the session's id.
    pub fn end(self, end: SessionEnd) {
        self.release(if self.named { end } else { end.reason.into() });
    }

    /// Marks the session for release, unless it is marked already.
    fn release(&self, end: SessionEnd) {
        if self.shared.with(|registry| registry.end(&self.session, (self.claim, self.epoch), end)) {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.release(CloseReason::Closed.into());
    }
}

impl fmt::Debug for SessionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionGuard")
            .field("session", &self.session)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// Why a session could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The user has reached the session limit.
    #[error("the user has {0} sessions, which is the limit (limits.sessions_per_user)")]
    Full(usize),
    /// The node is draining.
    #[error("cannot claim sessions: the node is draining")]
    Draining,
    /// The node does not hold its lease.
    #[error("cannot claim sessions: the node does not hold its lease")]
    NoLease,
    /// The broker did not carry out the claim, or its outcome is unknown.
    #[error("cannot claim sessions: {0}")]
    Broker(BrokerError),
    /// The task of the claim panicked.
    #[error("cannot claim sessions: {0}")]
    Panicked(String),
}

/// Settings of [`Sessions`].
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// The node id.
    pub node: NodeId,
    /// Maximum number of sessions of a user in the whole cluster.
    pub limit: usize,
}

/// Claims and releases sessions of this node. Clones are handles of the same registry.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
    lease: watch::Receiver<LeaseState>,
    /// Claim calls, which outlive a disconnected caller.
    claims: TaskTracker,
    stop: CancellationToken,
    /// Taken by the shutdown.
    reconciler: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// State shared by claims, held sessions and the releaser.
struct Shared {
    store: Arc<dyn SessionStore>,
    members: Arc<dyn Membership>,
    node: NodeId,
    limit: usize,
    end: EndStream,
    metrics: Arc<ClusterMetrics>,
    registry: Mutex<Registry>,
    /// Wakes the releaser.
    wake: Notify,
}

impl Shared {
    /// Accesses the registry, and updates its metrics.
    fn with<T>(&self, act: impl FnOnce(&mut Registry) -> T) -> T {
        // A panic under the lock leaves consistent plain data.
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut registry);
        self.metrics.sessions_held.set(gauge(registry.held()));
        self.metrics.sessions_releasing.set(gauge(registry.releasing()));
        result
    }

    /// Adds an uncertain claim, for reconciliation.
    fn add_uncertain(&self, session: SessionKey) {
        if !self.with(|registry| registry.add_uncertain(session, Instant::now() + RECONCILE_AFTER)) {
            self.metrics.uncertain_dropped.inc();
        }
        self.wake.notify_one();
    }
}

impl Sessions {
    /// Creates sessions without any. A session is claimed only while `lease` is held; all sessions are renewed when
    /// the lease was acquired again or `wire` reconnected. `end` ends streams.
    pub fn start(
        store: Arc<dyn SessionStore>,
        members: Arc<dyn Membership>,
        settings: SessionSettings,
        lease: watch::Receiver<LeaseState>,
        wire: watch::Receiver<SubscriberState>,
        end: EndStream,
        metrics: Arc<ClusterMetrics>,
    ) -> Self {
        let SessionSettings { node, limit } = settings;
        let shared = Arc::new(Shared {
            store,
            members,
            node,
            limit,
            end,
            metrics,
            registry: Mutex::default(),
            wake: Notify::new(),
        });
        let stop = CancellationToken::new();
        let reconciler = Reconciler::new(Arc::clone(&shared), lease.clone(), wire, stop.clone());
        let reconciler = Arc::new(Mutex::new(Some(tokio::spawn(reconciler.run()))));
        Self { shared, lease, claims: TaskTracker::new(), stop, reconciler }
    }

    /// Claims a session. Returns the last position of the user's channel before the claim was reported, too: what is published in
    /// reaction comes after it. There is none if it could not be read.
    ///
    /// # Errors
    ///
    /// Fails if the user has too many sessions, the broker is unavailable, or the node does not hold its lease.
    pub async fn claim(
        &self,
        user: &User,
        session: SessionId,
        client: SessionClient,
    ) -> Result<(SessionGuard, Option<Position>), ClaimError> {
        let shut = if self.claims.is_closed() {
            Some(ClaimError::Draining)
        } else if !self.lease.borrow().held() {
            // No node would sweep the sessions of a node without a lease.
            Some(ClaimError::NoLease)
        } else {
            None
        };
        if let Some(error) = shut {
            self.shared.metrics.claims_shut.inc();
            return Err(error);
        }
        let session = SessionKey::new(user.clone(), session);
        let call = ClaimCall::begin(Arc::clone(&self.shared), session, client);
        // On a separate task: the request is dropped when its client disconnects, and the claim's outcome would be
        // unknown.
        let claimed = self.claims.spawn(call.run()).await;
        claimed.unwrap_or_else(|error| Err(ClaimError::Panicked(error.to_string())))
    }

    /// Returns a user's sessions on all nodes, oldest first.
    ///
    /// # Errors
    ///
    /// Fails if the broker is unavailable.
    pub async fn sessions(&self, user: &User) -> Result<Vec<SessionInfo>, BrokerError> {
        self.shared.store.sessions(user).await
    }

    /// Disconnects one of a user's sessions, or all of them, on all nodes. Returns their number.
    ///
    /// # Errors
    ///
    /// Fails if the broker is unavailable; some sessions may be disconnected then. May be retried.
    pub async fn disconnect(&self, user: &User, session: Option<SessionId>) -> Result<usize, BrokerError> {
        let mut found = self.shared.store.sessions(user).await?;
        found.retain(|info| session.is_none_or(|session| session == info.session));
        let elsewhere = found.iter().any(|info| info.node != self.shared.node);
        let alive = if elsewhere { self.shared.members.nodes().await? } else { Vec::new() };
        for info in &found {
            let key = SessionKey::new(user.clone(), info.session);
            if info.node == self.shared.node {
                (self.shared.end)(key.clone(), u64::MAX, CloseReason::Disconnected);
                if self.shared.with(|registry| registry.knows(&key)) {
                    continue;
                }
            } else if alive.iter().any(|node| node.id == info.node) {
                let command = Control::Disconnect { user: key.user, session: key.session };
                self.shared.store.send(&info.node, &command).await?;
                continue;
            }
            // Recorded for a dead node, or for this one without a stream: no other node would remove it now.
            let SessionInfo { node, session, epoch, .. } = info;
            self.shared.store.release(node, user, *session, *epoch, CloseReason::Disconnected.into()).await?;
        }
        Ok(found.len())
    }

    /// Records that another node claimed a session with this epoch. Returns whether a stream of this node must end;
    /// false if this node's claim is newer, since the message is late.
    pub(crate) fn supersede(&self, session: &SessionKey, epoch: u64) -> bool {
        self.shared.with(|registry| registry.supersede(session, epoch))
    }

    /// Returns the epoch with which an open stream of this node holds a session.
    #[cfg(test)]
    fn epoch(&self, session: &SessionKey) -> Option<u64> {
        self.shared.with(|registry| registry.epoch(session))
    }

    /// Returns the number of held sessions, and of sessions to be released.
    pub fn counts(&self) -> (usize, usize) {
        self.shared.with(|registry| (registry.held(), registry.releasing()))
    }

    /// Stops claiming, and waits for all releases, at most for `patience`. Returns the number of sessions that are
    /// still recorded for this node. Streams must have ended before.
    pub async fn shutdown(&self, patience: Duration) -> usize {
        self.claims.close();
        let reconciler = self.reconciler.lock().unwrap_or_else(PoisonError::into_inner).take();
        let deadline = Instant::now() + patience;
        // A claim that is granted now is dropped by its caller, so the releaser runs until the last reply.
        let _ = tokio::time::timeout_at(deadline, self.claims.wait()).await;
        self.stop.cancel();
        if let Some(mut task) = reconciler
            && tokio::time::timeout_at(deadline, &mut task).await.is_err()
        {
            task.abort();
            let _ = task.await;
        }
        let (held, releasing) = self.counts();
        if held + releasing > 0 {
            tracing::warn!(held, releasing, "sessions not released; another node will sweep them");
        }
        held + releasing
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, releasing) = self.counts();
        f.debug_struct("Sessions").field("held", &held).field("releasing", &releasing).finish_non_exhaustive()
    }
}

/// One claim call, from before it is sent until its reply is recorded.
struct ClaimCall {
    shared: Arc<Shared>,
    session: SessionKey,
    client: SessionClient,
    /// Whether the broker has replied; otherwise the claim is uncertain.
    replied: bool,
}

impl ClaimCall {
    fn begin(shared: Arc<Shared>, session: SessionKey, client: SessionClient) -> Self {
        shared.with(|registry| registry.begin(&session));
        Self { shared, session, client, replied: false }
    }

    async fn run(mut self) -> Result<(SessionGuard, Option<Position>), ClaimError> {
        let shared = Arc::clone(&self.shared);
        let claim = Claim {
            user: self.session.user.clone(),
            session: self.session.session,
            node: shared.node.clone(),
            client: self.client.clone(),
            limit: shared.limit,
        };
        match shared.store.claim(&claim).await {
            Ok(Claimed::Held { epoch, tip, silence, .. }) => {
                self.replied = true;
                shared.metrics.claims_held.inc();
                let (session, since) = (self.session.clone(), unix_ms());
                let claim = shared.with(|registry| registry.hold(&session, &self.client, epoch, since));
                let silence = silence.map_or(0, |silence| silence.as_millis());
                let (silence_ms, named) = (silence.try_into().unwrap_or(u32::MAX), self.client.named);
                Ok((SessionGuard { shared, session, epoch, claim, silence_ms, named }, tip))
            }
            Ok(Claimed::Full) => {
                self.replied = true;
                shared.metrics.claims_full.inc();
                Err(ClaimError::Full(shared.limit))
            }
            Err(error) => {
                shared.metrics.claims_failed.inc();
                // A refusal is a definite reply; after any other error the claim may have been carried out.
                self.replied = !error.is_passing();
                Err(ClaimError::Broker(error))
            }
        }
    }
}

impl Drop for ClaimCall {
    fn drop(&mut self) {
        self.shared.with(|registry| registry.finish(&self.session));
        if !self.replied {
            self.shared.add_uncertain(self.session.clone());
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
