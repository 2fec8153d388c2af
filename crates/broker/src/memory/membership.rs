//! Leases of nodes, and the sweep of dead nodes' sessions.

use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::{SessionId, User};
use indexmap::{IndexMap, IndexSet};
use tokio::time::Instant;

use super::sessions::Sessions;
use super::{MemoryBroker, State};
use crate::lease::{LeaseOutcome, NodeId, NodeInfo, SWEEP_STEP, Swept};
use crate::session::CloseReason;
use crate::{BrokerError, Membership};

#[async_trait]
impl Membership for MemoryBroker {
    async fn lease(&self, info: &NodeInfo, ttl: Duration) -> Result<LeaseOutcome, BrokerError> {
        let mut state = self.state();
        let State { leases, sessions, .. } = &mut *state;
        Ok(leases.lease(sessions, info, ttl))
    }

    async fn leave(&self, info: &NodeInfo) -> Result<(), BrokerError> {
        self.state().leases.leave(info);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BrokerError> {
        Ok(self.state().leases.nodes())
    }

    async fn sweep(&self, node: &NodeId, ttl: Duration) -> Result<Swept, BrokerError> {
        let now = self.now();
        let mut state = self.state();
        let State { leases, sessions, .. } = &mut *state;
        let swept = leases.sweep(sessions, node, ttl, now);
        state.sessions.lifecycle.trim(self.settings.lifecycle_events);
        Ok(swept)
    }

    async fn prepare(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}

/// Leases and locks.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_node: IndexMap<NodeId, (NodeInfo, Instant)>,
    /// Sessions of earlier processes with a live node's id, with the epochs of their claims.
    former: Vec<(NodeId, User, SessionId, u64)>,
    /// The node that sweeps, and until when.
    sweeper: Option<(NodeId, Instant)>,
}

impl Leases {
    pub(super) fn lease(&mut self, sessions: &Sessions, info: &NodeInfo, ttl: Duration) -> LeaseOutcome {
        let now = Instant::now();
        let mut lease = LeaseOutcome::Taken;
        if let Some((holder, until)) = self.by_node.get(&info.id) {
            match (*until > now, holder.incarnation == info.incarnation) {
                (true, true) => lease = LeaseOutcome::Renewed,
                (true, false) => return LeaseOutcome::Foreign,
                (false, true) => {}
                // Another process with the same node id: it does not hold the sessions of the earlier one.
                (false, false) => self.former.extend(held_by(sessions, &info.id)),
            }
        }
        self.by_node.insert(info.id.clone(), (info.clone(), now + ttl));
        lease
    }

    pub(super) fn leave(&mut self, info: &NodeInfo) {
        if let Some((holder, until)) = self.by_node.get_mut(&info.id)
            && holder.incarnation == info.incarnation
        {
            // Kept as an expired lease, so that remaining sessions of the node are swept.
            *until = Instant::now();
        }
    }

    pub(super) fn nodes(&self) -> Vec<NodeInfo> {
        let now = Instant::now();
        let alive = self.by_node.values().filter(|(_, until)| *until > now);
        let mut nodes: Vec<_> = alive.map(|(info, _)| info.clone()).collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes
    }

    /// Performs one step of a sweep, unless another node sweeps.
    pub(super) fn sweep(&mut self, sessions: &mut Sessions, node: &NodeId, ttl: Duration, now: u64) -> Swept {
        let instant = Instant::now();
        if self.sweeper.as_ref().is_some_and(|(holder, until)| holder != node && *until > instant) {
            return Swept::default();
        }
        self.sweeper = Some((node.clone(), instant + ttl));
        let mut room = SWEEP_STEP;
        let mut orphans: Vec<_> = self.former.drain(..room.min(self.former.len())).collect();
        room -= orphans.len();
        let lapsed = self.by_node.iter().filter(|(_, (_, until))| *until <= instant);
        let mut dead: IndexSet<_> = lapsed.map(|(id, _)| id.clone()).collect();
        let owners = sessions.held().map(|(_, info)| &info.node);
        dead.extend(owners.filter(|node| !self.by_node.contains_key(*node)).cloned());
        for dead in dead {
            let mut held = held_by(sessions, &dead);
            if held.len() <= room {
                self.by_node.shift_remove(&dead);
            }
            held.truncate(room);
            room -= held.len();
            orphans.extend(held);
        }
        let mut swept = Swept::default();
        for (node, user, session, epoch) in orphans {
            let held = (&node, &user, session, epoch);
            swept.sessions += usize::from(sessions.release(held, CloseReason::NodeLost.into(), now));
        }
        let channels = sessions.check_channels(now, SWEEP_STEP);
        let (users, ended) = sessions.expire_grace(now, SWEEP_STEP);
        swept.users = users;
        swept.sessions += ended;
        swept.more = room == 0 || users == SWEEP_STEP || channels == SWEEP_STEP;
        swept
    }
}

fn held_by(sessions: &Sessions, node: &NodeId) -> Vec<(NodeId, User, SessionId, u64)> {
    let held = sessions.held().filter(|(_, info)| info.node == *node);
    held.map(|(user, info)| (node.clone(), user.clone(), info.session, info.epoch)).collect()
}
