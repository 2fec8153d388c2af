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
    pub(super) lifecycle: VecDeque<StreamEntry>,
}

/// A session as it is recorded.
#[derive(Debug, Clone)]
struct Recorded {
    info: SessionInfo,
    /// Set when its node has let go of it: until when it waits for another, in Unix milliseconds.
    leaving: Option<u64>,
}

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
        self.record(&claim.user, info);
        let from = old.map(|old| old.node);
        match &from {
            Some(from) => self.moved(now, &claim.user, claim.session, from, &claim.node),
            None => self.connected(now, &claim.user, claim.session, &claim.node, first),
        }
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
        match self.record(&holding.user, info) {
            None => self.connected(now, &holding.user, holding.session, node, first),
            Some(old) if old.node != *node => {
                self.moved(now, &holding.user, holding.session, &old.node, node);
            }
            Some(_) => {}
        }
        epoch
    }

    pub(super) fn of(&self, user: &User) -> Vec<SessionInfo> {
        let all = self.recorded.get(user).into_iter().flat_map(IndexMap::values);
        let mut list: Vec<_> =
            all.filter(|held| held.leaving.is_none()).map(|held| held.info.clone()).collect();
        list.sort_by_key(|info| (info.since, info.session));
        list
    }

    /// Every session that is held: whose it is, and the owner.
    pub(super) fn held(&self) -> impl Iterator<Item = (&User, &SessionInfo)> {
        let all = self.recorded.iter().flat_map(|(user, all)| all.values().map(move |held| (user, held)));
        all.filter(|(_, held)| held.leaving.is_none()).map(|(user, held)| (user, &held.info))
    }

    /// Looks again at users whose time has come, `limit` at most: ends the sessions that no other node took over, and
    /// reports those offline who have none. Returns how many users these were, and how many sessions ended.
    pub(super) fn depart(&mut self, now: u64, limit: usize) -> (usize, usize) {
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
                self.disconnected(now, &user, session, &node, Reason::Shutdown);
                ended += 1;
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

    /// Answers what was recorded before.
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
        let Some(gone) = self.forget(user, session) else { return };
        self.disconnected(now, user, session, &gone.info.node, reason);
        let last = !self.recorded.contains_key(user);
        if grace.is_zero() {
            if last {
                self.report(now, "user.offline", user, &[]);
            }
        } else if last || self.leaving.contains_key(user) {
            self.look_again(user, now + millis(grace));
        }
    }

    fn look_again(&mut self, user: &User, till: u64) {
        let known = self.leaving.entry(user.clone()).or_default();
        *known = till.max(*known);
    }

    fn connected(&mut self, now: u64, user: &User, session: SessionId, node: &NodeId, first: bool) {
        let session = session.to_string();
        self.report(now, "session.connected", user, &[("session", &session), ("node", node.as_str())]);
        // Nobody was told that a user who is leaving had gone.
        if first && self.leaving.swap_remove(user).is_none() {
            self.report(now, "user.online", user, &[]);
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
