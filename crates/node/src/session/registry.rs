//! What this node holds, and what it has yet to give up.
//!
//! Plain data behind one lock: nothing here waits.
//!
//! A session's entry is also its place in the queue of releases: what is to be given up is as many entries as there
//! were sessions, however long the broker is away. Beside it stand claims in doubt: those of which the broker never
//! said what became of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fanfare_broker::session::{Holding, Reason, Renewed};
use fanfare_protocol::SessionKey;
use foldhash::fast::RandomState;
use tokio::time::Instant;

/// The most claims in doubt that are remembered; beyond it the oldest is dropped and counted, and what it may have claimed
/// stays until the node leaves. More than the streams that fit on a node, which may all be claimed in one outage.
pub(super) const MAX_DOUBTS: usize = 100_000;

/// Tells the claims of this process apart. The epoch cannot: it changes when the session is renewed.
pub(super) type ClaimNumber = u64;

/// One session. Lives from the claim until the broker has heard that it is given up.
#[derive(Debug)]
struct Entry {
    client: Arc<str>,
    /// The owner's epoch as the broker has it: that of the claim, or of the last renewal.
    epoch: u64,
    /// When we claimed it, in Unix milliseconds.
    since: u64,
    claim: ClaimNumber,
    /// Why it is to be given up; none while its stream is open.
    ending: Option<Reason>,
    /// Whether `queue` has it.
    queued: bool,
    /// Whether another node has claimed it since. Its stream ends, also if it has yet to begin.
    lost: bool,
}

/// Calls to claim one session that are under way.
#[derive(Debug, Default)]
struct Claiming {
    calls: usize,
    /// A claim below this epoch was superseded before its answer came.
    below: u64,
}

/// A claim that may have been carried out although the broker did not say so.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) session: SessionKey,
    /// Not looked after before: until then the claim may still be under way.
    due: Instant,
}

/// One session to give up.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub(super) session: SessionKey,
    pub(super) epoch: u64,
    pub(super) reason: Reason,
    claim: ClaimNumber,
}

/// What a look at a claim in doubt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing was left behind.
    Clear,
    /// It had been carried out: it is queued to be given up, or is now the open stream's.
    Mended,
    /// A claim of the session is under way; look again.
    Busy,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: HashMap<SessionKey, Entry, RandomState>,
    /// How many of the entries are to be given up.
    ending: usize,
    /// Those to give up that are not being given up just now; each once.
    queue: VecDeque<SessionKey>,
    doubts: VecDeque<Doubt>,
    /// Sessions whose claims are under way.
    claiming: HashMap<SessionKey, Claiming, RandomState>,
    last_claim: ClaimNumber,
}

impl Registry {
    /// Sessions whose streams are open.
    pub(super) fn held(&self) -> usize {
        self.entries.len() - self.ending
    }

    /// Sessions to give up.
    pub(super) fn ending(&self) -> usize {
        self.ending
    }

    /// Returns the epoch with which an open stream holds the session.
    pub(super) fn epoch(&self, session: &SessionKey) -> Option<u64> {
        self.entries.get(session).filter(|entry| entry.ending.is_none()).map(|entry| entry.epoch)
    }

    /// Returns whether a claim of the session is under way, or it has an entry.
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

    /// Notes a granted claim. It takes the place of an older one of the session; that one's stream gives up nothing
    /// when it ends. An answer that comes after the answer to a newer claim is not noted.
    pub(super) fn hold(
        &mut self,
        session: &SessionKey,
        client: &Arc<str>,
        epoch: u64,
        since: u64,
    ) -> ClaimNumber {
        self.last_claim += 1;
        let claim = self.last_claim;
        let old = self.entries.get(session);
        if old.is_some_and(|old| old.epoch > epoch) {
            return claim;
        }
        // The place in the queue stays, and is passed over when its turn comes.
        let queued = old.is_some_and(|old| old.queued);
        self.ending -= usize::from(old.is_some_and(|old| old.ending.is_some()));
        let lost = self.claiming.get(session).is_some_and(|claiming| epoch < claiming.below);
        let client = Arc::clone(client);
        let entry = Entry { client, epoch, since, claim, ending: None, queued, lost };
        self.entries.insert(session.clone(), entry);
        claim
    }

    /// Notes that another node claimed the session with this epoch. Answers false if our claim is newer.
    pub(super) fn supersede(&mut self, session: &SessionKey, epoch: u64) -> bool {
        if let Some(claiming) = self.claiming.get_mut(session) {
            claiming.below = claiming.below.max(epoch);
        }
        match self.entries.get_mut(session).filter(|entry| entry.ending.is_none()) {
            Some(entry) => {
                entry.lost |= entry.epoch < epoch;
                entry.epoch < epoch
            }
            None => true,
        }
    }

    /// Returns whether a claim is not the owner's any more, as far as we know.
    pub(super) fn is_lost(&self, session: &SessionKey, claim: ClaimNumber) -> bool {
        self.entries.get(session).is_none_or(|entry| entry.claim != claim || entry.lost)
    }

    /// Marks a session to be given up, unless a newer claim has taken its place. Answers whether it did.
    pub(super) fn end(&mut self, session: &SessionKey, claim: ClaimNumber, reason: Reason) -> bool {
        match self.entries.get_mut(session) {
            Some(entry) if entry.claim == claim && entry.ending.is_none() => {
                entry.ending = Some(reason);
                self.ending += 1;
                self.enqueue(session);
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

    /// Returns the next session to give up.
    pub(super) fn next_release(&mut self) -> Option<Release> {
        while let Some(session) = self.queue.pop_front() {
            let Some(entry) = self.entries.get_mut(&session) else { continue };
            entry.queued = false;
            if let Some(reason) = entry.ending {
                let (epoch, claim) = (entry.epoch, entry.claim);
                return Some(Release { session, epoch, reason, claim });
            }
        }
        None
    }

    /// Forgets a session that was given up, unless it was claimed again meanwhile.
    pub(super) fn released(&mut self, release: &Release) {
        let entry = self.entries.get(&release.session);
        let same = entry.is_some_and(|entry| entry.claim == release.claim && entry.epoch == release.epoch);
        if same {
            self.forget(&release.session);
        }
    }

    /// Queues a session again that could not be given up.
    pub(super) fn retry(&mut self, release: &Release) {
        let entry = self.entries.get(&release.session);
        if entry.is_some_and(|entry| entry.claim == release.claim && entry.ending.is_some()) {
            self.enqueue(&release.session);
        }
    }

    fn forget(&mut self, session: &SessionKey) {
        if let Some(entry) = self.entries.remove(session) {
            self.ending -= usize::from(entry.ending.is_some());
        }
        // Memory is given back when most of the streams are gone.
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to((self.entries.len() * 2).max(64));
            self.queue.shrink_to((self.queue.len() * 2).max(64));
        }
    }

    // ---- claims in doubt

    /// Remembers a claim that failed. Answers false if the oldest one had to go for it.
    pub(super) fn doubt(&mut self, session: SessionKey, due: Instant) -> bool {
        let full = self.doubts.len() >= MAX_DOUBTS;
        if full {
            self.doubts.pop_front();
        }
        self.doubts.push_back(Doubt { session, due });
        !full
    }

    /// Returns the next claim to look after; `hurry` does not wait until it is due.
    pub(super) fn next_doubt(&mut self, now: Instant, hurry: bool) -> Option<Doubt> {
        self.doubts.pop_front_if(|doubt| hurry || doubt.due <= now)
    }

    /// Drops the claims in doubt, and answers how many there were.
    pub(super) fn forget_doubts(&mut self) -> usize {
        std::mem::take(&mut self.doubts).len()
    }

    /// When the next claim in doubt is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.doubts.front().map(|doubt| doubt.due)
    }

    /// Sets right what a claim in doubt left behind: `found` is the epoch with which the broker has the session as
    /// ours, if it does.
    pub(super) fn mend(&mut self, doubt: &Doubt, found: Option<u64>) -> Look {
        let Some(epoch) = found else { return Look::Clear };
        let session = &doubt.session;
        if self.claiming.contains_key(session) {
            return Look::Busy;
        }
        match self.entries.get_mut(session) {
            Some(entry) if entry.epoch >= epoch => return Look::Clear,
            // Nobody but an older stream of ours can be meant: it goes on with the newer epoch.
            Some(entry) => entry.epoch = epoch,
            None => {
                self.last_claim += 1;
                let entry = Entry {
                    client: "".into(),
                    epoch,
                    since: 0,
                    claim: self.last_claim,
                    ending: Some(Reason::Closed),
                    queued: false,
                    lost: false,
                };
                self.entries.insert(session.clone(), entry);
                self.ending += 1;
            }
        }
        if self.entries.get(session).is_some_and(|entry| entry.ending.is_some()) {
            self.enqueue(session);
        }
        Look::Mended
    }

    // ---- renewal

    /// Returns every session whose stream is open.
    pub(super) fn open(&self) -> Vec<SessionKey> {
        let open = self.entries.iter().filter(|(_, entry)| entry.ending.is_none());
        open.map(|(session, _)| session.clone()).collect()
    }

    /// Returns what we believe to hold of these, also of those whose streams ended since the renewal began: if a
    /// first try was carried out and not answered, only a second one tells with which epoch they are to be given up.
    pub(super) fn holdings(&self, sessions: &[SessionKey]) -> Vec<(ClaimNumber, Holding)> {
        let known = sessions.iter().filter_map(|session| {
            let entry = self.entries.get(session)?;
            let holding = Holding {
                user: session.user.clone(),
                session: session.session,
                epoch: entry.epoch,
                since: entry.since,
                client: Arc::clone(&entry.client),
            };
            Some((entry.claim, holding))
        });
        known.collect()
    }

    /// Notes what became of a holding. Answers true if the session is lost and its stream must end.
    pub(super) fn renewed(&mut self, claim: ClaimNumber, holding: &Holding, renewed: Renewed) -> bool {
        let session = SessionKey::new(holding.user.clone(), holding.session);
        let Some(entry) = self.entries.get_mut(&session).filter(|entry| entry.claim == claim) else {
            // Claimed anew meanwhile, with an epoch that is greater than whatever we were given.
            return false;
        };
        match renewed {
            Renewed::Held(epoch) => {
                // It may be that of a claim under way, which an older stream must not give up. If that claim fails, it
                // is looked after.
                if !self.claiming.contains_key(&session) {
                    entry.epoch = entry.epoch.max(epoch);
                }
                false
            }
            Renewed::Lost if entry.epoch == holding.epoch => {
                let open = entry.ending.is_none();
                self.forget(&session);
                open
            }
            Renewed::Lost => false,
        }
    }

    /// Returns whether nothing is left to do for the releaser.
    pub(super) fn is_idle(&self) -> bool {
        self.ending == 0 && self.doubts.is_empty()
    }

    #[cfg(test)]
    pub(super) fn entry_bytes() -> usize {
        size_of::<(SessionKey, Entry)>()
    }
}
