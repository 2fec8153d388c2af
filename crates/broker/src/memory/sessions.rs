//! Who holds which session, and what the lifecycle stream says of it.

use std::collections::VecDeque;
use std::time::Duration;

use fanfare_protocol::{Position, SessionId, User};
use indexmap::IndexMap;

use super::StreamEntry;
use super::channel::millis;
use crate::lease::NodeId;
use crate::session::{Claim, Claimed, Holding, Reason, Renewed, SessionInfo};

/// Every user's sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    epochs: Epochs,
    /// A user without any is not in it.
    recorded: IndexMap<User, IndexMap<SessionId, Recorded>>,
    /// Users to look at again, and when, in Unix milliseconds: no node may hold a session of theirs then.
    leaving: IndexMap<User, u64>,
    /// How many session events one user may cause in a minute; 0 is no limit.
    per_minute: u32,
    /// What is used of each user's share. A user who has used none is not in it.
    shares: IndexMap<User, Share>,
    pub(super) lifecycle: VecDeque<StreamEntry>,
}

/// What a claim finds before it is recorded.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// Whether it is the user's first session.
    first: bool,
    /// Whether the user was among those who are leaving.
    waited: bool,
    merged: bool,
}

/// A session as it is recorded.
#[derive(Debug, Clone)]
struct Recorded {
    info: SessionInfo,
    /// Set when its node has let go of it: until when it waits for another, in Unix milliseconds.
    leaving: Option<u64>,
}

/// What a user has used of the share of the lifecycle stream, as in `session.lua`.
#[derive(Debug)]
enum Share {
    /// Used up to the time at which all of it is free again, in Unix milliseconds.
    Used(u64),
    /// Used up: events are merged until the next look. What the stream has told last, and why a session of it ended.
    Merged(IndexMap<SessionId, (NodeId, Option<Reason>)>),
}

/// How long a user's events are merged before the look that tells what is different, in milliseconds.
const LOOK: u64 = 5_000;
/// What a share is counted over, in milliseconds.
const MINUTE: u64 = 60_000;

/// Gives epochs out.
#[derive(Debug, Default)]
struct Epochs {
    last: u64,
}

impl Epochs {
    /// Greater than `old` and than any before; not below the clock in microseconds, so that it also grows when
    /// everything was forgotten in between.
    fn next(&mut self, now: u64, old: u64) -> u64 {
        self.last = (now * 1000).max(self.last + 1).max(old + 1);
        self.last
    }
}

impl Sessions {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, ..Self::default() }
    }

    pub(super) fn claim(&mut self, claim: &Claim, now: u64) -> Claimed {
        let known = self.recorded.get(&claim.user);
        let old = known.and_then(|all| all.get(&claim.session)).map(|recorded| recorded.info.clone());
        // Those that a leaving node has let go of are not counted: their clients may be about to come back as others.
        let held = known.map_or(0, |all| all.values().filter(|other| other.leaving.is_none()).count());
        if old.is_none() && held >= claim.limit {
            return Claimed::Full;
        }
        let first = known.is_none();
        let info = SessionInfo {
            session: claim.session,
            node: claim.node.clone(),
            epoch: self.epochs.next(now, old.as_ref().map_or(0, |old| old.epoch)),
            since: old.as_ref().map_or(now, |old| old.since),
            client: claim.client.clone(),
        };
        let epoch = info.epoch;
        let arrival = self.begin(now, &claim.user, first);
        self.record(&claim.user, info);
        let from = old.map(|old| old.node);
        match &from {
            _ if arrival.merged => {}
            Some(from) => self.moved(now, &claim.user, claim.session, from, &claim.node),
            None => self.connected(now, &claim.user, claim.session, &claim.node),
        }
        self.arrive(now, &claim.user, arrival);
        Claimed::Held { epoch, from }
    }

    /// Gives a session up. A node that leaves only lets go of it for the `grace`.
    pub(super) fn release(
        &mut self,
        (node, user, session, epoch): (&NodeId, &User, SessionId, u64),
        reason: Reason,
        grace: Duration,
        now: u64,
    ) -> bool {
        let recorded = self.recorded.get_mut(user).and_then(|all| all.get_mut(&session));
        let Some(recorded) = recorded.filter(|held| held.info.node == *node && held.info.epoch <= epoch)
        else {
            return false;
        };
        if reason == Reason::Shutdown && !grace.is_zero() {
            let till = now + millis(grace);
            recorded.leaving = Some(till);
            self.look_again(user, till);
        } else {
            self.disconnect(user, session, reason, grace, now);
        }
        true
    }

    pub(super) fn renew(&mut self, node: &NodeId, holding: &Holding, now: u64) -> Renewed {
        let known = self.recorded.get(&holding.user).and_then(|all| all.get(&holding.session));
        match known.map(|recorded| &recorded.info) {
            // A greater one is ours too: the answer that gave it was lost.
            Some(owner) if owner.epoch < holding.epoch => Renewed::Held(self.restore(node, holding, now)),
            Some(owner) if owner.node == *node => Renewed::Held(owner.epoch),
            Some(_) => Renewed::Lost,
            None => Renewed::Held(self.restore(node, holding, now)),
        }
    }

    /// Nobody holds it: for everybody who watches it begins anew, as everything after a wipe does, and as it ended for
    /// them with the sweep. Or an older claim was left of ours, as by a fail-over: then it moves.
    fn restore(&mut self, node: &NodeId, holding: &Holding, now: u64) -> u64 {
        let first = !self.recorded.contains_key(&holding.user);
        let info = SessionInfo {
            session: holding.session,
            node: node.clone(),
            epoch: self.epochs.next(now, holding.epoch),
            since: holding.since,
            client: holding.client.clone(),
        };
        let epoch = info.epoch;
        let arrival = self.begin(now, &holding.user, first);
        match self.record(&holding.user, info) {
            _ if arrival.merged => {}
            None => self.connected(now, &holding.user, holding.session, node),
            Some(old) if old.node != *node => {
                self.moved(now, &holding.user, holding.session, &old.node, node);
            }
            Some(_) => {}
        }
        self.arrive(now, &holding.user, arrival);
        epoch
    }

    pub(super) fn of(&self, user: &User) -> Vec<SessionInfo> {
        let all = self.recorded.get(user).into_iter().flat_map(IndexMap::values);
        let mut list: Vec<_> =
            all.filter(|held| held.leaving.is_none()).map(|held| held.info.clone()).collect();
        list.sort_by_key(|info| (info.since, info.session));
        list
    }

    /// Returns every session that is held: whose it is, and the owner.
    pub(super) fn held(&self) -> impl Iterator<Item = (&User, &SessionInfo)> {
        let all = self.recorded.iter().flat_map(|(user, all)| all.values().map(move |held| (user, held)));
        all.filter(|(_, held)| held.leaving.is_none()).map(|(user, held)| (user, &held.info))
    }

    /// Looks again at users whose time has come, `limit` at most: ends the sessions that no other node took over, and
    /// reports those offline who have none. Returns how many users these were, and how many sessions ended.
    pub(super) fn depart(&mut self, now: u64, limit: usize, grace: Duration) -> (usize, usize) {
        self.shares.retain(|_, share| !matches!(share, Share::Used(till) if *till <= now));
        let due = self.leaving.iter().filter(|(_, till)| **till <= now);
        let due: Vec<User> = due.take(limit).map(|(user, _)| user.clone()).collect();
        let users = due.len();
        let mut ended = 0;
        for user in due {
            self.leaving.swap_remove(&user);
            let all = self.recorded.get(&user).into_iter().flatten();
            let waiting: Vec<_> = all
                .filter_map(|(id, held)| held.leaving.map(|till| (*id, held.info.node.clone(), till)))
                .collect();
            for (session, node, till) in waiting {
                if till > now {
                    let again = self.leaving.get(&user).map_or(till, |other| till.min(*other));
                    self.leaving.insert(user.clone(), again);
                    continue;
                }
                self.forget(&user, session);
                self.ended(now, &user, session, &node, Reason::Shutdown);
                ended += 1;
            }
            if self.tell_merged(now, &user) && !grace.is_zero() && !self.recorded.contains_key(&user) {
                // When the last one went is not known: the grace begins now.
                self.look_again(&user, now + millis(grace));
            }
            if self.leaving.contains_key(&user) {
                continue;
            }
            if !self.recorded.contains_key(&user) {
                self.report(now, "user.offline", &user, &[]);
            }
        }
        (users, ended)
    }

    pub(super) fn trim(&mut self, keep: usize) {
        while self.lifecycle.len() > keep {
            self.lifecycle.pop_front();
        }
    }

    /// Returns what was recorded before.
    fn record(&mut self, user: &User, info: SessionInfo) -> Option<SessionInfo> {
        let all = self.recorded.entry(user.clone()).or_default();
        all.insert(info.session, Recorded { info, leaving: None }).map(|old| old.info)
    }

    fn forget(&mut self, user: &User, session: SessionId) -> Option<Recorded> {
        let all = self.recorded.get_mut(user)?;
        let gone = all.shift_remove(&session);
        if all.is_empty() {
            self.recorded.swap_remove(user);
        }
        gone
    }

    /// A user without a session is offline when the grace is over and there is still none.
    fn disconnect(&mut self, user: &User, session: SessionId, reason: Reason, grace: Duration, now: u64) {
        let merged = self.is_merged(now, user);
        let Some(gone) = self.forget(user, session) else { return };
        self.ended(now, user, session, &gone.info.node, reason);
        // The look is due in any case.
        if merged {
            return;
        }
        let (last, waits) = (!self.recorded.contains_key(user), self.leaving.contains_key(user));
        if grace.is_zero() {
            if last && !waits {
                self.report(now, "user.offline", user, &[]);
            }
        } else if last || waits {
            self.look_again(user, now + millis(grace));
        }
    }

    fn look_again(&mut self, user: &User, till: u64) {
        let known = self.leaving.entry(user.clone()).or_default();
        *known = till.max(*known);
    }

    /// Returns whether what happens to a session of the user now is merged with what follows. To be asked before it
    /// is recorded.
    fn is_merged(&mut self, now: u64, user: &User) -> bool {
        if self.per_minute == 0 {
            return false;
        }
        let used = match self.shares.get(user) {
            Some(Share::Merged(_)) => return true,
            Some(Share::Used(till)) => till.saturating_sub(now),
            None => 0,
        };
        let used = used + MINUTE / u64::from(self.per_minute);
        if used <= MINUTE {
            self.shares.insert(user.clone(), Share::Used(now + used.max(1)));
            return false;
        }
        let recorded = self.recorded.get(user).into_iter().flatten();
        let told = recorded.map(|(id, held)| (*id, (held.info.node.clone(), None))).collect();
        self.shares.insert(user.clone(), Share::Merged(told));
        self.leaving.entry(user.clone()).or_insert(now + LOOK);
        true
    }

    /// Returns what is different from what was told last, if events of the user were merged. The share is used up
    /// still.
    fn tell_merged(&mut self, now: u64, user: &User) -> bool {
        let Some(Share::Merged(_)) = self.shares.get(user) else { return false };
        let Some(Share::Merged(told)) = self.shares.insert(user.clone(), Share::Used(now + MINUTE)) else {
            return false;
        };
        let recorded = self.recorded.get(user).cloned().unwrap_or_default();
        for (session, (node, reason)) in &told {
            match recorded.get(session) {
                None => self.disconnected(now, user, *session, node, reason.unwrap_or(Reason::Closed)),
                Some(held) if held.info.node != *node => {
                    self.moved(now, user, *session, node, &held.info.node);
                }
                Some(_) => {}
            }
        }
        for (session, held) in recorded.iter().filter(|(session, _)| !told.contains_key(*session)) {
            self.connected(now, user, *session, &held.info.node);
        }
        true
    }

    /// Looks at what a claim must know before it is recorded.
    fn begin(&mut self, now: u64, user: &User, first: bool) -> Arrival {
        let waited = self.leaving.contains_key(user);
        Arrival { first, waited, merged: self.is_merged(now, user) }
    }

    /// Reports that a user came, unless nobody was told that the user had gone. A look that is due for what was merged
    /// stays due.
    fn arrive(&mut self, now: u64, user: &User, Arrival { first, waited, merged }: Arrival) {
        if !first {
            return;
        }
        if !waited {
            self.report(now, "user.online", user, &[]);
        } else if !merged {
            self.leaving.swap_remove(user);
        }
    }

    fn connected(&mut self, now: u64, user: &User, session: SessionId, node: &NodeId) {
        let session = session.to_string();
        self.report(now, "session.connected", user, &[("session", &session), ("node", node.as_str())]);
    }

    /// Reports the end of a session, or notes its reason for the look that tells it.
    fn ended(&mut self, now: u64, user: &User, session: SessionId, node: &NodeId, reason: Reason) {
        match self.shares.get_mut(user) {
            Some(Share::Merged(told)) => {
                if let Some(last) = told.get_mut(&session) {
                    *last = (node.clone(), Some(reason));
                }
            }
            _ => self.disconnected(now, user, session, node, reason),
        }
    }

    fn moved(&mut self, now: u64, user: &User, session: SessionId, from: &NodeId, node: &NodeId) {
        let session = session.to_string();
        let more = [("session", &*session), ("from", from.as_str()), ("node", node.as_str())];
        self.report(now, "session.moved", user, &more);
    }

    fn disconnected(&mut self, now: u64, user: &User, session: SessionId, node: &NodeId, reason: Reason) {
        let session = session.to_string();
        let more = [("session", &*session), ("node", node.as_str()), ("reason", reason.as_str())];
        self.report(now, "session.disconnected", user, &more);
    }

    fn report(&mut self, now: u64, event: &str, user: &User, more: &[(&str, &str)]) {
        let last = self.lifecycle.back().map_or(Position::ZERO, |(id, _)| *id);
        let id = Position::new(last.ms, last.seq + 1).max(Position::new(now, 0));
        let mut fields = vec![("event".to_owned(), event.to_owned()), ("user".into(), user.id().into())];
        fields.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self.lifecycle.push_back((id, fields));
    }
}
