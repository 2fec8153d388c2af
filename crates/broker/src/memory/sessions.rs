//! Owners of sessions, the channels that they follow, and the checks that report who is gone.
//!
//! # Layout
//!
//! - `channels`: the channels of sessions whose presence is recorded

mod channels;

use std::time::Duration;

use fanfare_protocol::{Position, SessionId, User};
use indexmap::IndexMap;

use super::channel::millis;
use super::lifecycle::Lifecycle;
use super::presences::Presences;
use super::silences::Silences;
use crate::BrokerSettings;
use crate::lease::NodeId;
use crate::session::{
    Claim, Claimed, CloseReason, Holding, PresentIn, Renewed, SessionClient, SessionEnd, SessionInfo,
};

/// Every user's sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    epochs: Epochs,
    /// Users without sessions are not in it.
    recorded: IndexMap<User, IndexMap<SessionId, Recorded>>,
    /// Users to check again, with the time in Unix milliseconds: they may have no session then.
    leaving: IndexMap<User, u64>,
    /// Maximum rate of session events of one user, per minute; 0 disables the limit.
    per_minute: u32,
    /// How long after its last session a user is reported offline, and a channel vacated.
    grace: Duration,
    /// Used part of each user's rate. Users who have used nothing are not in it.
    shares: IndexMap<User, Share>,
    silences: Silences,
    presences: Presences,
    pub(super) lifecycle: Lifecycle,
}

/// State of a user before a claim is recorded.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    /// Whether it is the user's first session.
    first: bool,
    /// Whether the user was about to be reported offline.
    waited: bool,
    merged: bool,
}

/// A recorded session.
#[derive(Debug, Clone)]
struct Recorded {
    info: SessionInfo,
    /// Whether the client claimed it with a long poll.
    polls: bool,
    /// The channels of the session whose presence is recorded.
    present_in: PresentIn,
    /// Set if the session was released and its client is expected back: until when it waits, in Unix milliseconds, and why it
    /// was released.
    leaving: Option<(u64, CloseReason)>,
}

impl Recorded {
    /// Returns whether the node has answered a long poll and the client has not sent the next one.
    fn is_between_polls(&self) -> bool {
        matches!(self.leaving, Some((_, CloseReason::Polled)))
    }
}

/// Used part of a user's rate of lifecycle events, as in `session.lua`.
#[derive(Debug)]
enum Share {
    /// Partly used; completely free again at this time, in Unix milliseconds.
    Used(u64),
    /// Used up: events are merged until the next check. Has what the stream reported last, and why a session of it
    /// ended.
    Merged(IndexMap<SessionId, (NodeId, Option<CloseReason>)>),
}

/// Time for which a user's events are merged before the check that reports the differences, in milliseconds.
const LOOK: u64 = 5_000;
/// Period of the rate, in milliseconds.
const MINUTE: u64 = 60_000;

/// Source of epochs.
#[derive(Debug, Default)]
struct Epochs {
    last: u64,
}

impl Epochs {
    /// Returns an epoch greater than `old` and than any before. It is at least the clock in microseconds, so that
    /// epochs also grow after all data was lost.
    fn next(&mut self, now: u64, old: u64) -> u64 {
        self.last = (now * 1000).max(self.last + 1).max(old + 1);
        self.last
    }
}

impl Sessions {
    pub(super) fn new(settings: &BrokerSettings) -> Self {
        let (per_minute, grace) = (settings.lifecycle_per_minute, settings.grace);
        let silences = Silences::new(settings.heartbeat_memory);
        Self { per_minute, grace, silences, ..Self::default() }
    }

    pub(super) fn claim(&mut self, claim: &Claim, tip: Position, now: u64) -> Claimed {
        let known = self.recorded.get(&claim.user);
        let recorded = known.and_then(|all| all.get(&claim.session));
        // After a long poll nothing has changed, on whichever node. Its release may come later.
        let polls = recorded.is_some_and(|recorded| recorded.polls);
        let old = recorded.map(|recorded| recorded.info.clone());
        let before = recorded.map(|recorded| recorded.present_in.clone()).unwrap_or_default();
        // Sessions released by a draining node are not counted: their clients may reconnect with other session ids.
        let counts = |other: &&Recorded| other.leaving.is_none() || other.is_between_polls();
        let held = known.map_or(0, |all| all.values().filter(counts).count());
        if old.is_none() && held >= claim.limit {
            return Claimed::Full;
        }
        let first = known.is_none();
        let info = SessionInfo {
            session: claim.session,
            node: claim.node.clone(),
            epoch: self.epochs.next(now, old.as_ref().map_or(0, |old| old.epoch)),
            since: old.as_ref().map_or(now, |old| old.since),
            client: claim.client.address.clone(),
        };
        let epoch = info.epoch;
        let waits = self.leaving.contains_key(&claim.user);
        // Arrivals of offline users do not count with a grace period, which bounds their rate.
        let counts = !polls && (!first || self.grace.is_zero() || waits);
        let arrival = self.begin(now, &claim.user, (first, counts));
        self.record(&claim.user, info, &claim.client);
        let from = old.map(|old| old.node);
        match &from {
            _ if arrival.merged || polls => {}
            Some(from) => self.lifecycle.moved(now, &claim.user, claim.session, from, &claim.node),
            None => self.lifecycle.connected(now, &claim.user, claim.session, &claim.node),
        }
        self.arrive(now, &claim.user, arrival);
        let key = (&claim.user, claim.session);
        self.change_channels(now, key, &before, &claim.client.present_in);
        let silence = self.silences.recall(key, claim.client.resumes, now);
        Claimed::Held { epoch, from, tip: Some(tip), silence }
    }

    /// Releases a session. The session of a client that is expected back is kept for the grace period.
    pub(super) fn release(
        &mut self,
        (node, user, session, epoch): (&NodeId, &User, SessionId, u64),
        end: SessionEnd,
        now: u64,
    ) -> bool {
        let reason = end.reason;
        if let Some(silence) = end.silence() {
            self.silences.record((user, session, epoch), silence, now);
        }
        let (recorded, grace) =
            (self.recorded.get_mut(user).and_then(|all| all.get_mut(&session)), self.grace);
        let Some(recorded) = recorded.filter(|held| held.info.node == *node && held.info.epoch <= epoch)
        else {
            return false;
        };
        if reason.is_expected_back() && !grace.is_zero() {
            let till = now + millis(grace);
            recorded.leaving = Some((till, reason));
            self.look_again(user, till);
        } else {
            self.disconnect(user, session, reason, now);
        }
        true
    }

    pub(super) fn renew(&mut self, node: &NodeId, holding: &Holding, now: u64) -> Renewed {
        let known = self.recorded.get(&holding.user).and_then(|all| all.get(&holding.session));
        match known.map(|recorded| &recorded.info) {
            // A greater epoch is this node's too: the reply with it was lost.
            Some(owner) if owner.epoch < holding.epoch => Renewed::Held(self.restore(node, holding, now)),
            Some(owner) if owner.node == *node => Renewed::Held(owner.epoch),
            Some(_) => Renewed::Lost,
            None => Renewed::Held(self.restore(node, holding, now)),
        }
    }

    /// Restores a session without an owner: it is reported as new, as after a wipe or a sweep. If a failover left an
    /// older claim, the session is reported as moved.
    fn restore(&mut self, node: &NodeId, holding: &Holding, now: u64) -> u64 {
        let first = !self.recorded.contains_key(&holding.user);
        let info = SessionInfo {
            session: holding.session,
            node: node.clone(),
            epoch: self.epochs.next(now, holding.epoch),
            since: holding.since,
            client: holding.client.address.clone(),
        };
        let epoch = info.epoch;
        let arrival = self.begin(now, &holding.user, (first, true));
        let old = self.record(&holding.user, info, &holding.client);
        match old.as_ref().map(|old| &old.info) {
            _ if arrival.merged => {}
            None => self.lifecycle.connected(now, &holding.user, holding.session, node),
            Some(old) if old.node != *node => {
                self.lifecycle.moved(now, &holding.user, holding.session, &old.node, node);
            }
            Some(_) => {}
        }
        self.arrive(now, &holding.user, arrival);
        let before = old.map(|old| old.present_in).unwrap_or_default();
        self.change_channels(now, (&holding.user, holding.session), &before, &holding.client.present_in);
        epoch
    }

    pub(super) fn of(&self, user: &User) -> Vec<SessionInfo> {
        let all = self.recorded.get(user).into_iter().flat_map(IndexMap::values);
        let mut list: Vec<_> =
            all.filter(|held| held.leaving.is_none()).map(|held| held.info.clone()).collect();
        list.sort_by_key(|info| (info.since, info.session));
        list
    }

    /// Returns every owned session with its user.
    pub(super) fn held(&self) -> impl Iterator<Item = (&User, &SessionInfo)> {
        let all = self.recorded.iter().flat_map(|(user, all)| all.values().map(move |held| (user, held)));
        all.filter(|(_, held)| held.leaving.is_none()).map(|(user, held)| (user, &held.info))
    }

    /// Checks at most `limit` users whose time has come: ends sessions whose clients did not come back, and reports
    /// users without a session offline. Returns the number of users, and of sessions that ended.
    pub(super) fn expire_grace(&mut self, now: u64, limit: usize) -> (usize, usize) {
        self.shares.retain(|_, share| !matches!(share, Share::Used(till) if *till <= now));
        let due = self.leaving.iter().filter(|(_, till)| **till <= now);
        let due: Vec<User> = due.take(limit).map(|(user, _)| user.clone()).collect();
        let users = due.len();
        let mut ended = 0;
        for user in due {
            self.leaving.swap_remove(&user);
            let all = self.recorded.get(&user).into_iter().flatten();
            let waiting: Vec<_> = all
                .filter_map(|(id, held)| held.leaving.map(|leaving| (*id, held.info.node.clone(), leaving)))
                .collect();
            for (session, node, (till, reason)) in waiting {
                if till > now {
                    let again = self.leaving.get(&user).map_or(till, |other| till.min(*other));
                    self.leaving.insert(user.clone(), again);
                    continue;
                }
                let gone = self.forget(&user, session);
                self.ended(now, &user, session, &node, reason);
                // The session has waited for the grace period.
                let channels = gone.map(|gone| gone.present_in).unwrap_or_default();
                self.unfollow_all(now, (&user, session), &channels, Duration::ZERO);
                ended += 1;
            }
            if self.tell_merged(now, &user) && !self.grace.is_zero() && !self.recorded.contains_key(&user) {
                // The end of the last session is unknown: the grace period starts now.
                self.look_again(&user, now + millis(self.grace));
            }
            if self.leaving.contains_key(&user) {
                continue;
            }
            if !self.recorded.contains_key(&user) {
                self.lifecycle.user_offline(now, &user);
            }
        }
        (users, ended)
    }

    /// Records a session. Returns the previous record.
    fn record(&mut self, user: &User, info: SessionInfo, client: &SessionClient) -> Option<Recorded> {
        let all = self.recorded.entry(user.clone()).or_default();
        let (polls, present_in) = (client.polls, client.present_in.clone());
        all.insert(info.session, Recorded { info, polls, present_in, leaving: None })
    }

    fn forget(&mut self, user: &User, session: SessionId) -> Option<Recorded> {
        let all = self.recorded.get_mut(user)?;
        let gone = all.shift_remove(&session);
        if all.is_empty() {
            self.recorded.swap_remove(user);
        }
        gone
    }

    /// Removes a session. A user without a session is reported offline after the grace period.
    fn disconnect(&mut self, user: &User, session: SessionId, reason: CloseReason, now: u64) {
        let merged = self.is_merged(now, user);
        let Some(gone) = self.forget(user, session) else { return };
        self.ended(now, user, session, &gone.info.node, reason);
        self.unfollow_all(now, (user, session), &gone.present_in, self.grace);
        // The check is due in any case.
        if merged {
            return;
        }
        let (last, waits) = (!self.recorded.contains_key(user), self.leaving.contains_key(user));
        if self.grace.is_zero() {
            if last && !waits {
                self.lifecycle.user_offline(now, user);
            }
        } else if last || waits {
            self.look_again(user, now + millis(self.grace));
        }
    }

    fn look_again(&mut self, user: &User, till: u64) {
        let known = self.leaving.entry(user.clone()).or_default();
        *known = till.max(*known);
    }

    /// Returns whether an event of the user is merged with later ones. Must be called before the event is recorded.
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
        let reported = recorded.map(|(id, held)| (*id, (held.info.node.clone(), None))).collect();
        self.shares.insert(user.clone(), Share::Merged(reported));
        self.leaving.entry(user.clone()).or_insert(now + LOOK);
        true
    }

    /// Reports the differences to what was reported last, if events of the user were merged. The rate stays used up.
    /// Returns whether they were.
    fn tell_merged(&mut self, now: u64, user: &User) -> bool {
        let Some(Share::Merged(_)) = self.shares.get(user) else { return false };
        let Some(Share::Merged(reported)) = self.shares.insert(user.clone(), Share::Used(now + MINUTE))
        else {
            return false;
        };
        let recorded = self.recorded.get(user).cloned().unwrap_or_default();
        for (session, (node, reason)) in &reported {
            match recorded.get(session) {
                None => self.lifecycle.disconnected(
                    now,
                    user,
                    *session,
                    node,
                    reason.unwrap_or(CloseReason::Closed),
                ),
                Some(held) if held.info.node != *node && !held.polls => {
                    self.lifecycle.moved(now, user, *session, node, &held.info.node);
                }
                Some(_) => {}
            }
        }
        for (session, held) in recorded.iter().filter(|(session, _)| !reported.contains_key(*session)) {
            self.lifecycle.connected(now, user, *session, &held.info.node);
        }
        true
    }

    /// Returns the state of a user before a claim is recorded.
    fn begin(&mut self, now: u64, user: &User, (first, counts): (bool, bool)) -> Arrival {
        let waited = self.leaving.contains_key(user);
        Arrival { first, waited, merged: counts && self.is_merged(now, user) }
    }

    /// Reports a user online, unless the user was not reported offline. A check that is due for merged events stays
    /// due.
    fn arrive(&mut self, now: u64, user: &User, Arrival { first, waited, merged }: Arrival) {
        if !first {
            return;
        }
        if !waited {
            self.lifecycle.user_online(now, user);
        } else if !merged {
            self.leaving.swap_remove(user);
        }
    }

    /// Reports the end of a session, or records its reason for the check that reports it.
    fn ended(&mut self, now: u64, user: &User, session: SessionId, node: &NodeId, reason: CloseReason) {
        match self.shares.get_mut(user) {
            Some(Share::Merged(reported)) => {
                if let Some(last) = reported.get_mut(&session) {
                    *last = (node.clone(), Some(reason));
                }
            }
            _ => self.lifecycle.disconnected(now, user, session, node, reason),
        }
    }
}
