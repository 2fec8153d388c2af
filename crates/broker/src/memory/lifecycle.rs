//! The lifecycle stream: what happens to sessions, users and channels.

use std::collections::VecDeque;

use fanfare_protocol::{Channel, Position, SessionId, User};

use super::StreamEntry;
use crate::lease::NodeId;
use crate::session::CloseReason;

/// The entries of the lifecycle stream, oldest first.
#[derive(Debug, Default)]
pub(super) struct Lifecycle(VecDeque<StreamEntry>);

impl Lifecycle {
    pub(super) fn entries(&self) -> impl Iterator<Item = &StreamEntry> {
        self.0.iter()
    }

    /// Removes the oldest entries beyond `keep`.
    pub(super) fn trim(&mut self, keep: usize) {
        while self.0.len() > keep {
            self.0.pop_front();
        }
    }

    pub(super) fn user_online(&mut self, now: u64, user: &User) {
        self.report(now, &[("event", "user.online"), ("user", user.id())]);
    }

    pub(super) fn user_offline(&mut self, now: u64, user: &User) {
        self.report(now, &[("event", "user.offline"), ("user", user.id())]);
    }

    pub(super) fn channel_occupied(&mut self, now: u64, channel: &Channel) {
        self.report(now, &[("event", "channel.occupied"), ("channel", channel.as_str())]);
    }

    pub(super) fn channel_vacated(&mut self, now: u64, channel: &Channel) {
        self.report(now, &[("event", "channel.vacated"), ("channel", channel.as_str())]);
    }

    pub(super) fn connected(&mut self, now: u64, user: &User, session: SessionId, node: &NodeId) {
        self.session(now, "session.connected", (user, session), &[("node", node.as_str())]);
    }

    pub(super) fn moved(&mut self, now: u64, user: &User, session: SessionId, from: &NodeId, node: &NodeId) {
        let more = [("from", from.as_str()), ("node", node.as_str())];
        self.session(now, "session.moved", (user, session), &more);
    }

    pub(super) fn disconnected(
        &mut self,
        now: u64,
        user: &User,
        session: SessionId,
        node: &NodeId,
        reason: CloseReason,
    ) {
        let more = [("node", node.as_str()), ("reason", reason.as_str())];
        self.session(now, "session.disconnected", (user, session), &more);
    }

    fn session(&mut self, now: u64, event: &str, (user, session): (&User, SessionId), more: &[(&str, &str)]) {
        let session = session.to_string();
        let about = [("event", event), ("user", user.id()), ("session", &session)];
        self.report(now, &[&about, more].concat());
    }

    fn report(&mut self, now: u64, fields: &[(&str, &str)]) {
        let last = self.0.back().map_or(Position::ZERO, |(id, _)| *id);
        let id = Position::new(last.ms, last.seq + 1).max(Position::new(now, 0));
        let fields = fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        self.0.push_back((id, fields.collect()));
    }
}
