//! The channels of sessions whose presence is recorded.

use std::time::Duration;

use fanfare_protocol::{Channel, SessionId, User};

use super::super::channel::millis;
use super::super::presences::Reported;
use super::{LOOK, Sessions};
use crate::session::{Presence, PresentIn, UserPage};

impl Sessions {
    pub(in crate::memory) fn presence(&self, channel: &Channel, page: &UserPage) -> Presence {
        self.presences.of(channel, page)
    }

    /// Replaces the channels of a session.
    pub(super) fn change_channels(
        &mut self,
        now: u64,
        session: (&User, SessionId),
        before: &PresentIn,
        after: &PresentIn,
    ) {
        for channel in before.channels().iter().filter(|channel| !after.channels().contains(channel)) {
            self.unfollow(now, session, channel, self.grace);
        }
        for channel in after.channels().iter().filter(|channel| !before.channels().contains(channel)) {
            self.follow(now, session, channel);
        }
    }

    /// Adds a session to a channel, and reports the channel as occupied if it is the first. The report counts towards the rate of
    /// the user: beyond it, the check reports the channel if it is still occupied.
    fn follow(&mut self, now: u64, (user, session): (&User, SessionId), channel: &Channel) {
        if !self.presences.follow(channel, user, session) {
            return;
        }
        if self.is_merged(now, user) {
            self.presences.check_at(channel, Reported::Vacated, now + LOOK);
        } else {
            self.lifecycle.channel_occupied(now, channel);
        }
    }

    /// Removes a session from a channel. A channel without a session is reported as vacated after the grace period.
    fn unfollow(
        &mut self,
        now: u64,
        (user, session): (&User, SessionId),
        channel: &Channel,
        grace: Duration,
    ) {
        if !self.presences.unfollow(channel, user, session) {
            return;
        }
        if grace.is_zero() {
            self.lifecycle.channel_vacated(now, channel);
        } else {
            self.presences.check_at(channel, Reported::Occupied, now + millis(grace));
        }
    }

    pub(super) fn unfollow_all(
        &mut self,
        now: u64,
        session: (&User, SessionId),
        channels: &PresentIn,
        grace: Duration,
    ) {
        for channel in channels.channels() {
            self.unfollow(now, session, channel, grace);
        }
    }

    /// Checks at most `limit` channels whose time has come, and returns their number.
    pub(in crate::memory) fn check_channels(&mut self, now: u64, limit: usize) -> usize {
        for checked in 0..limit {
            let Some((channel, changed)) = self.presences.next_check(now) else { return checked };
            match changed {
                Some(Reported::Occupied) => self.lifecycle.channel_occupied(now, &channel),
                Some(Reported::Vacated) => self.lifecycle.channel_vacated(now, &channel),
                None => {}
            }
        }
        limit
    }
}
