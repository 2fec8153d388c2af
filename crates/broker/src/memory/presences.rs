//! Who follows each channel, as in `session.lua`.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_protocol::{Channel, SessionId, User};
use indexmap::IndexMap;

use crate::session::{Presence, UserPage};

/// What the lifecycle stream reported last of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    Occupied,
    Vacated,
}

/// The sessions that follow channels whose presence is recorded.
#[derive(Debug, Default)]
pub(super) struct Presences {
    /// Channels without a session are not in it.
    followers: IndexMap<Channel, BTreeMap<User, BTreeSet<SessionId>>>,
    /// Channels to check again, with the time in Unix milliseconds.
    checks: IndexMap<Channel, (Reported, u64)>,
}

impl Presences {
    /// Adds a session to a channel. Returns whether the channel was vacated before and was reported so.
    pub(super) fn follow(&mut self, channel: &Channel, user: &User, session: SessionId) -> bool {
        let users = self.followers.entry(channel.clone()).or_default();
        let is_first = users.is_empty();
        users.entry(user.clone()).or_default().insert(session);
        if !is_first {
            return false;
        }
        match self.checks.get(channel) {
            // It is still reported as occupied.
            Some((Reported::Occupied, _)) => {
                self.checks.swap_remove(channel);
                false
            }
            // The check will report it.
            Some((Reported::Vacated, _)) => false,
            None => true,
        }
    }

    /// Removes a session from a channel. Returns whether no session is left and the channel was reported as occupied.
    pub(super) fn unfollow(&mut self, channel: &Channel, user: &User, session: SessionId) -> bool {
        let Some(users) = self.followers.get_mut(channel) else { return false };
        let Some(sessions) = users.get_mut(user) else { return false };
        if !sessions.remove(&session) || !sessions.is_empty() {
            return false;
        }
        users.remove(user);
        if !users.is_empty() {
            return false;
        }
        self.followers.swap_remove(channel);
        !self.checks.contains_key(channel)
    }

    /// Checks a channel again at this time, in Unix milliseconds.
    pub(super) fn check_at(&mut self, channel: &Channel, reported: Reported, till: u64) {
        self.checks.insert(channel.clone(), (reported, till));
    }

    /// Returns the next channel to check, and what to report of it, if its state differs from what was reported.
    pub(super) fn next_check(&mut self, now: u64) -> Option<(Channel, Option<Reported>)> {
        let at = self.checks.values().position(|(_, till)| *till <= now)?;
        let (channel, (reported, _)) = self.checks.swap_remove_index(at)?;
        let state =
            if self.followers.contains_key(&channel) { Reported::Occupied } else { Reported::Vacated };
        Some((channel, (state != reported).then_some(state)))
    }

    /// Returns who follows a channel.
    pub(super) fn of(&self, channel: &Channel, page: &UserPage) -> Presence {
        let Some(users) = self.followers.get(channel) else { return Presence::default() };
        let comes_after = |user: &&User| page.after.as_ref().is_none_or(|after| *user > after);
        Presence {
            sessions: users.values().map(BTreeSet::len).sum(),
            users: users.len(),
            list: users.keys().filter(comes_after).take(page.limit).cloned().collect(),
        }
    }
}
