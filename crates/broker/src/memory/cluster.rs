//! Sessions, leases and locks.

use std::collections::VecDeque;
use std::time::Duration;

use fanfare_protocol::{Position, SessionId, User};
use indexmap::{IndexMap, IndexSet};
use tokio::time::Instant;

use super::StreamEntry;
use crate::lease::{Lease, NodeId, NodeInfo};
use crate::session::{Claim, Claimed, Holding, Reason, Renewed, SessionInfo};

/// What the nodes know of each other and of their clients.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    epochs: Epochs,
    sessions: IndexMap<User, IndexMap<SessionId, SessionInfo>>,
    leases: IndexMap<NodeId, (NodeInfo, Instant)>,
    /// What earlier processes of nodes that are alive have left behind, with the epochs of their claims.
    former: Vec<(NodeId, User, SessionId, u64)>,
    /// Who sweeps, and until when.
    sweeper: Option<(NodeId, Instant)>,
    pub(super) lifecycle: VecDeque<StreamEntry>,
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

impl Cluster {
    pub(super) fn claim(&mut self, claim: &Claim, now: u64) -> Claimed {
        let sessions = self.sessions.entry(claim.user.clone()).or_default();
        let old = sessions.get(&claim.session).cloned();
        if old.is_none() && sessions.len() >= claim.limit {
            if sessions.is_empty() {
                self.sessions.swap_remove(&claim.user);
            }
            return Claimed::Full;
        }
        let first = sessions.is_empty();
        let epoch = self.epochs.next(now, old.as_ref().map_or(0, |old| old.epoch));
        sessions.insert(
            claim.session,
            SessionInfo {
                session: claim.session,
                node: claim.node.clone(),
                epoch,
                since: old.as_ref().map_or(now, |old| old.since),
                client: claim.client.clone(),
            },
        );
        let from = old.map(|old| old.node);
        match &from {
            Some(from) => self.moved(now, &claim.user, claim.session, from, &claim.node),
            None => self.connected(now, &claim.user, claim.session, &claim.node, first),
        }
        Claimed::Held { epoch, from }
    }

    pub(super) fn release(
        &mut self,
        node: &NodeId,
        user: &User,
        session: SessionId,
        epoch: u64,
        reason: Reason,
        now: u64,
    ) -> bool {
        let Some(sessions) = self.sessions.get_mut(user) else { return false };
        if !sessions.get(&session).is_some_and(|held| held.node == *node && held.epoch <= epoch) {
            return false;
        }
        sessions.shift_remove(&session);
        let last = sessions.is_empty();
        if last {
            self.sessions.swap_remove(user);
        }
        let id = session.to_string();
        self.report(
            now,
            "session.disconnected",
            user,
            &[("session", &id), ("node", node.as_str()), ("reason", reason.as_str())],
        );
        if last {
            self.report(now, "user.offline", user, &[]);
        }
        true
    }

    pub(super) fn renew(&mut self, node: &NodeId, holding: &Holding, now: u64) -> Renewed {
        let known = self.sessions.get(&holding.user).and_then(|all| all.get(&holding.session));
        match known {
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
        let sessions = self.sessions.entry(holding.user.clone()).or_default();
        let first = sessions.is_empty();
        let epoch = self.epochs.next(now, holding.epoch);
        let info = SessionInfo {
            session: holding.session,
            node: node.clone(),
            epoch,
            since: holding.since,
            client: holding.client.clone(),
        };
        match sessions.insert(holding.session, info) {
            None => self.connected(now, &holding.user, holding.session, node, first),
            Some(old) if old.node != *node => {
                self.moved(now, &holding.user, holding.session, &old.node, node);
            }
            Some(_) => {}
        }
        epoch
    }

    pub(super) fn sessions(&self, user: &User) -> Vec<SessionInfo> {
        let mut list: Vec<_> =
            self.sessions.get(user).into_iter().flat_map(IndexMap::values).cloned().collect();
        list.sort_by_key(|info| (info.since, info.session));
        list
    }

    pub(super) fn lease(&mut self, info: &NodeInfo, ttl: Duration) -> Lease {
        let now = Instant::now();
        let mut lease = Lease::Taken;
        if let Some((holder, until)) = self.leases.get(&info.id) {
            match (*until > now, holder.incarnation == info.incarnation) {
                (true, true) => lease = Lease::Renewed,
                (true, false) => return Lease::Foreign,
                (false, true) => {}
                // Another process of the name: it holds nothing of what this one held.
                (false, false) => {
                    let left = self.held_by(&info.id);
                    let left = left.into_iter().map(|(user, id, epoch)| (info.id.clone(), user, id, epoch));
                    self.former.extend(left);
                }
            }
        }
        self.leases.insert(info.id.clone(), (info.clone(), now + ttl));
        lease
    }

    pub(super) fn leave(&mut self, info: &NodeInfo) {
        if let Some((holder, until)) = self.leases.get_mut(&info.id)
            && holder.incarnation == info.incarnation
        {
            // Kept as a lapsed lease, so that what the node may have left behind is swept.
            *until = Instant::now();
        }
    }

    pub(super) fn nodes(&self) -> Vec<NodeInfo> {
        let now = Instant::now();
        let alive = self.leases.values().filter(|(_, until)| *until > now);
        let mut nodes: Vec<_> = alive.map(|(info, _)| info.clone()).collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes
    }

    pub(super) fn sweep(&mut self, node: &NodeId, ttl: Duration, now: u64) -> usize {
        let instant = Instant::now();
        if self.sweeper.as_ref().is_some_and(|(holder, until)| holder != node && *until > instant) {
            return 0;
        }
        self.sweeper = Some((node.clone(), instant + ttl));
        let mut swept = 0;
        for (node, user, session, epoch) in std::mem::take(&mut self.former) {
            swept += usize::from(self.release(&node, &user, session, epoch, Reason::NodeLost, now));
        }
        let lapsed = self.leases.iter().filter(|(_, (_, until))| *until <= instant);
        let mut dead: IndexSet<_> = lapsed.map(|(id, _)| id.clone()).collect();
        let owners = self.sessions.values().flat_map(IndexMap::values).map(|info| &info.node);
        dead.extend(owners.filter(|node| !self.leases.contains_key(*node)).cloned());
        for dead in dead {
            for (user, session, epoch) in self.held_by(&dead) {
                swept += usize::from(self.release(&dead, &user, session, epoch, Reason::NodeLost, now));
            }
            self.leases.shift_remove(&dead);
        }
        swept
    }

    fn held_by(&self, node: &NodeId) -> Vec<(User, SessionId, u64)> {
        let all = self.sessions.iter().flat_map(|(user, all)| all.values().map(move |info| (user, info)));
        let held = all.filter(|(_, info)| info.node == *node);
        held.map(|(user, info)| (user.clone(), info.session, info.epoch)).collect()
    }

    pub(super) fn trim(&mut self, keep: usize) {
        while self.lifecycle.len() > keep {
            self.lifecycle.pop_front();
        }
    }

    fn moved(&mut self, now: u64, user: &User, session: SessionId, from: &NodeId, node: &NodeId) {
        let session = session.to_string();
        let fields = [("session", &*session), ("from", from.as_str()), ("node", node.as_str())];
        self.report(now, "session.moved", user, &fields);
    }

    fn connected(&mut self, now: u64, user: &User, session: SessionId, node: &NodeId, first: bool) {
        let session = session.to_string();
        self.report(now, "session.connected", user, &[("session", &session), ("node", node.as_str())]);
        if first {
            self.report(now, "user.online", user, &[]);
        }
    }

    fn report(&mut self, now: u64, event: &str, user: &User, more: &[(&str, &str)]) {
        let last = self.lifecycle.back().map_or(Position::ZERO, |(id, _)| *id);
        let id = Position::new(last.ms, last.seq + 1).max(Position::new(now, 0));
        let mut fields = vec![("event".to_owned(), event.to_owned()), ("user".into(), user.id().into())];
        fields.extend(more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self.lifecycle.push_back((id, fields));
    }
}
