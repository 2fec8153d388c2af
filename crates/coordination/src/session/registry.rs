//! The sessions that this node holds or must release.
//!
//! Plain data behind one lock; nothing here blocks.
//!
//! A session's entry is also its place in the queue of releases, so that the queue is bounded by the number of
//! sessions, however long the broker is unavailable. The registry also has uncertain claims, whose outcome is
//! unknown.

use std::collections::{HashMap, VecDeque};

use fanfare_broker::session::{CloseReason, Holding, Renewed, SessionClient, SessionEnd};
use fanfare_protocol::SessionKey;
use foldhash::fast::RandomState;
use tokio::time::Instant;

/// Maximum number of uncertain claims; beyond it the oldest one is dropped and counted, and the session that it may
/// have claimed stays until the node shuts down. More than the streams of a node, which may all be claimed in one
/// outage.
pub(super) const MAX_UNCERTAIN_CLAIMS: usize = 100_000;

/// Maximum number of silences to be recorded of connections that newer ones of the same session have replaced; further ones are
/// not recorded.
const MAX_SILENT: usize = 10_000;

/// Number of a claim within this process. The epoch cannot identify a claim, since renewals change it.
pub(super) type ClaimNumber = u64;

/// One session. Lives from the claim until it is released at the broker.
#[derive(Debug)]
struct Entry {
    client: SessionClient,
    /// The epoch at the broker: that of the claim, or of the last renewal.
    epoch: u64,
    /// Time of the claim, in Unix milliseconds.
    since: u64,
    claim: ClaimNumber,
    /// The end of a session to be released; `None` while its stream is open.
    releasing: Option<SessionEnd>,
    /// Whether `queue` has it.
    queued: bool,
    /// Whether another node has claimed the session since. Its stream ends, also if it has not started yet.
    lost: bool,
}

/// Claim calls of one session that are in progress.
#[derive(Debug, Default)]
struct Claiming {
    calls: usize,
    /// A claim below this epoch was superseded before its reply arrived.
    below: u64,
}

/// An uncertain claim: the broker may have carried it out without a reply.
#[derive(Debug)]
pub(super) struct UncertainClaim {
    pub(super) session: SessionKey,
    /// Time of the check. Before it, the claim may still be in progress.
    due: Instant,
}

/// One session to release.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub(super) session: SessionKey,
    pub(super) epoch: u64,
    pub(super) end: SessionEnd,
    claim: ClaimNumber,
}

/// Result of checking an uncertain claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reconciliation {
    /// The claim was not carried out.
    NotClaimed,
    /// The claim was carried out: the session is queued for release, or adopted by the open stream.
    Reconciled,
    /// A claim of the session is in progress; check again.
    InProgress,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: HashMap<SessionKey, Entry, RandomState>,
    /// Number of entries to be released.
    releasing: usize,
    /// Sessions to be released whose release is not in progress; each once.
    queue: VecDeque<SessionKey>,
    /// Claims that newer ones have replaced here and whose connections were lost in silence, which their release records.
    silent: VecDeque<Release>,
    uncertain_claims: VecDeque<UncertainClaim>,
    /// Sessions whose claims are in progress.
    claiming: HashMap<SessionKey, Claiming, RandomState>,
    last_claim: ClaimNumber,
}

impl Registry {
    /// Returns the number of sessions whose streams are open.
    pub(super) fn held(&self) -> usize {
        self.entries.len() - self.releasing
    }

    /// Returns the number of sessions to release.
    pub(super) fn releasing(&self) -> usize {
        self.releasing
    }

    /// Returns the epoch with which an open stream holds the session.
    #[cfg(test)]
    pub(super) fn epoch(&self, session: &SessionKey) -> Option<u64> {
        self.entries.get(session).filter(|entry| entry.releasing.is_none()).map(|entry| entry.epoch)
    }

    /// Returns whether the session has an entry, or a claim of it is in progress.
    pub(super) fn knows(&self, session: &SessionKey) -> bool {
        self.entries.contains_key(session) || self.claiming.contains_key(session)
    }

    // ---- claims

    pub(super) fn begin(&mut self, session: &SessionKey) {
        self.claiming.entry(session.clone()).or_default().calls += 1;
    }

    pub(super) fn finish(&mut self, session: &SessionKey) {
        if let Some(claiming) = self.claiming.get_mut(session) {
            claiming.calls -= 1;
            if claiming.calls == 0 {
                self.claiming.remove(session);
            }
        }
        if self.claiming.is_empty() {
            self.claiming.shrink_to(64);
        }
    }

    /// Records a granted claim. It replaces an older claim of the session, whose stream releases nothing when it
    /// ends. A reply that arrives after the reply to a newer claim is ignored.
    pub(super) fn hold(
        &mut self,
        session: &SessionKey,
        client: &SessionClient,
        epoch: u64,
        since: u64,
    ) -> ClaimNumber {
        self.last_claim += 1;
        let claim = self.last_claim;
        let old = self.entries.get(session);
        if old.is_some_and(|old| old.epoch > epoch) {
            return claim;
        }
        // The queue keeps the session, which is skipped later.
        let queued = old.is_some_and(|old| old.queued);
        self.releasing -= usize::from(old.is_some_and(|old| old.releasing.is_some()));
        let lost = self.claiming.get(session).is_some_and(|claiming| epoch < claiming.below);
        let client = client.clone();
        let entry = Entry { client, epoch, since, claim, releasing: None, queued, lost };
        self.entries.insert(session.clone(), entry);
        claim
    }

    /// Records that another node claimed the session with this epoch. Returns false if this node's claim is newer.
    pub(super) fn supersede(&mut self, session: &SessionKey, epoch: u64) -> bool {
        if let Some(claiming) = self.claiming.get_mut(session) {
            claiming.below = claiming.below.max(epoch);
        }
        match self.entries.get_mut(session).filter(|entry| entry.releasing.is_none()) {
            Some(entry) => {
                entry.lost |= entry.epoch < epoch;
                entry.epoch < epoch
            }
            None => true,
        }
    }

    /// Returns whether another claim has taken the session, as far as this node knows.
    pub(super) fn is_lost(&self, session: &SessionKey, claim: ClaimNumber) -> bool {
        self.entries.get(session).is_none_or(|entry| entry.claim != claim || entry.lost)
    }

    /// Marks a session for release, unless a newer claim has replaced this one and there is nothing to record. Returns whether
    /// there is something to release.
    pub(super) fn end(
        &mut self,
        session: &SessionKey,
        (claim, epoch): (ClaimNumber, u64),
        end: SessionEnd,
    ) -> bool {
        match self.entries.get_mut(session) {
            Some(entry) if entry.claim == claim && entry.releasing.is_none() => {
                entry.releasing = Some(end);
                self.releasing += 1;
                self.enqueue(session);
                true
            }
            Some(entry)
                if entry.claim != claim && end.silence().is_some() && self.silent.len() < MAX_SILENT =>
            {
                self.silent.push_back(Release { session: session.clone(), epoch, end, claim });
                true
            }
            _ => false,
        }
    }

    fn enqueue(&mut self, session: &SessionKey) {
        if let Some(entry) = self.entries.get_mut(session)
            && !std::mem::replace(&mut entry.queued, true)
        {
            self.queue.push_back(session.clone());
        }
    }

    // ---- releases

    /// Returns the next session to release.
    pub(super) fn next_release(&mut self) -> Option<Release> {
        while let Some(session) = self.queue.pop_front() {
            let Some(entry) = self.entries.get_mut(&session) else { continue };
            entry.queued = false;
            if let Some(end) = entry.releasing {
                let (epoch, claim) = (entry.epoch, entry.claim);
                return Some(Release { session, epoch, end, claim });
            }
        }
        self.silent.pop_front()
    }

    /// Removes a released session, unless it was claimed again meanwhile.
    pub(super) fn released(&mut self, release: &Release) {
        let entry = self.entries.get(&release.session);
        let same = entry.is_some_and(|entry| entry.claim == release.claim && entry.epoch == release.epoch);
        if same {
            self.forget(&release.session);
        }
    }

    /// Queues a session again whose release failed.
    pub(super) fn retry(&mut self, release: &Release) {
        let entry = self.entries.get(&release.session);
        if entry.is_some_and(|entry| entry.claim == release.claim && entry.releasing.is_some()) {
            self.enqueue(&release.session);
        }
    }

    fn forget(&mut self, session: &SessionKey) {
        if let Some(entry) = self.entries.remove(session) {
            self.releasing -= usize::from(entry.releasing.is_some());
        }
        // Frees memory when most streams are gone.
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to((self.entries.len() * 2).max(64));
            self.queue.shrink_to((self.queue.len() * 2).max(64));
        }
    }

    // ---- uncertain claims

    /// Adds an uncertain claim. Returns false if the oldest one was dropped for it.
    pub(super) fn add_uncertain(&mut self, session: SessionKey, due: Instant) -> bool {
        let full = self.uncertain_claims.len() >= MAX_UNCERTAIN_CLAIMS;
        if full {
            self.uncertain_claims.pop_front();
        }
        self.uncertain_claims.push_back(UncertainClaim { session, due });
        !full
    }

    /// Returns the next claim to check; with `hurry` also before it is due.
    pub(super) fn next_uncertain(&mut self, now: Instant, hurry: bool) -> Option<UncertainClaim> {
        self.uncertain_claims.pop_front_if(|uncertain| hurry || uncertain.due <= now)
    }

    /// Drops all uncertain claims. Returns their number.
    pub(super) fn drop_uncertain(&mut self) -> usize {
        std::mem::take(&mut self.uncertain_claims).len()
    }

    /// Returns when the next uncertain claim is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.uncertain_claims.front().map(|uncertain| uncertain.due)
    }

    /// Reconciles an uncertain claim. `found` is the epoch with which this node owns the session at the broker, if it
    /// does.
    pub(super) fn reconcile(&mut self, uncertain: &UncertainClaim, found: Option<u64>) -> Reconciliation {
        let Some(epoch) = found else { return Reconciliation::NotClaimed };
        let session = &uncertain.session;
        if self.claiming.contains_key(session) {
            return Reconciliation::InProgress;
        }
        match self.entries.get_mut(session) {
            Some(entry) if entry.epoch >= epoch => return Reconciliation::NotClaimed,
            // An older stream of this node adopts the newer epoch.
            Some(entry) => entry.epoch = epoch,
            None => {
                self.last_claim += 1;
                let entry = Entry {
                    client: "".into(),
                    epoch,
                    since: 0,
                    claim: self.last_claim,
                    releasing: Some(CloseReason::Closed.into()),
                    queued: false,
                    lost: false,
                };
                self.entries.insert(session.clone(), entry);
                self.releasing += 1;
            }
        }
        if self.entries.get(session).is_some_and(|entry| entry.releasing.is_some()) {
            self.enqueue(session);
        }
        Reconciliation::Reconciled
    }

    // ---- renewal

    /// Returns every session whose stream is open.
    pub(super) fn open(&self) -> Vec<SessionKey> {
        let open = self.entries.iter().filter(|(_, entry)| entry.releasing.is_none());
        open.map(|(session, _)| session.clone()).collect()
    }

    /// Returns the held ones of these sessions, also those whose streams ended since the renewal started: if a first
    /// attempt was carried out without a reply, only a second one returns the epoch with which to release them.
    pub(super) fn holdings(&self, sessions: &[SessionKey]) -> Vec<(ClaimNumber, Holding)> {
        let known = sessions.iter().filter_map(|session| {
            let entry = self.entries.get(session)?;
            let holding = Holding {
                user: session.user.clone(),
                session: session.session,
                epoch: entry.epoch,
                since: entry.since,
                client: entry.client.clone(),
            };
            Some((entry.claim, holding))
        });
        known.collect()
    }

    /// Records the result of a renewal. Returns true if the session is lost and its stream must end.
    pub(super) fn renewed(&mut self, claim: ClaimNumber, holding: &Holding, renewed: Renewed) -> bool {
        let session = SessionKey::new(holding.user.clone(), holding.session);
        let Some(entry) = self.entries.get_mut(&session).filter(|entry| entry.claim == claim) else {
            // Claimed again meanwhile, with a greater epoch than that of the renewal.
            return false;
        };
        match renewed {
            Renewed::Held(epoch) => {
                // The epoch may be that of a claim in progress, which an older stream must not release. If that claim
                // fails, it is checked as an uncertain claim.
                if !self.claiming.contains_key(&session) {
                    entry.epoch = entry.epoch.max(epoch);
                }
                false
            }
            Renewed::Lost if entry.epoch == holding.epoch => {
                let open = entry.releasing.is_none();
                self.forget(&session);
                open
            }
            Renewed::Lost => false,
        }
    }

    /// Returns whether the releaser has nothing left to do.
    pub(super) fn is_idle(&self) -> bool {
        self.releasing == 0 && self.uncertain_claims.is_empty()
    }

    #[cfg(test)]
    pub(super) fn entry_bytes() -> usize {
        size_of::<(SessionKey, Entry)>()
    }
}
