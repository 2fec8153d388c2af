//! The names of everything in Redis.
//!
//! `{…}` is a hash tag: one channel's names share a slot of a Redis Cluster, and no two channels are assumed to.

use std::fmt::Write;
use std::sync::Arc;

use fanfare_protocol::{Channel, User};
use uuid::Uuid;

use crate::NodeId;

/// Names everything under one prefix. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn log(&self, channel: &Channel) -> String {
        self.of_channel(channel.as_str(), "log")
    }

    pub(super) fn last(&self, channel: &Channel) -> String {
        self.of_channel(channel.as_str(), "last")
    }

    pub(super) fn live(&self, channel: &Channel) -> String {
        self.of_channel(channel.as_str(), "live")
    }

    pub(super) fn once(&self, channel: &Channel, key: &str) -> String {
        let mut name = self.of_channel(channel.as_str(), "once:");
        name.push_str(key);
        name
    }

    pub(super) fn sessions(&self, user: &User) -> String {
        self.of_channel(user.channel().as_str(), "sessions")
    }

    pub(super) fn nodes(&self) -> String {
        self.of("nodes")
    }

    pub(super) fn lease(&self, node: &NodeId) -> String {
        format!("{}:node:{node}", self.prefix)
    }

    /// Users to look at again, with the time: no node may hold a session of theirs then.
    pub(super) fn leaving(&self) -> String {
        self.of("leaving")
    }

    /// `<session> <user>` of each session that the node owns.
    pub(super) fn index(&self, node: &NodeId) -> String {
        format!("{}:node:{node}:sessions", self.prefix)
    }

    /// The same for what an earlier process of the node's name left behind.
    pub(super) fn former(&self, node: &NodeId) -> String {
        format!("{}:node:{node}:former", self.prefix)
    }

    /// Which process the index belongs to. Outlives the lease.
    pub(super) fn incarnation(&self, node: &NodeId) -> String {
        format!("{}:node:{node}:incarnation", self.prefix)
    }

    pub(super) fn control(&self, node: &NodeId) -> String {
        format!("{}:node:{node}:control", self.prefix)
    }

    pub(super) fn sweeper(&self) -> String {
        self.of("sweeper")
    }

    pub(super) fn ingest(&self) -> String {
        self.of("ingest")
    }

    pub(super) fn ingest_leader(&self) -> String {
        self.of("ingest:leader")
    }

    pub(super) fn ingest_dead(&self) -> String {
        self.of("ingest:dead")
    }

    pub(super) fn lifecycle(&self) -> String {
        self.of("lifecycle")
    }

    /// A topic of one wire's own, for its probes.
    pub(super) fn probe(&self, wire: Uuid) -> String {
        format!("{}:wire:{wire}", self.prefix)
    }

    /// The channel's name in the name of a live topic.
    pub(super) fn channel_of<'a>(&self, live: &'a [u8]) -> Option<&'a str> {
        let rest = live.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":{")?;
        std::str::from_utf8(rest.strip_suffix(b"}:live")?).ok()
    }

    fn of(&self, what: &str) -> String {
        format!("{}:{what}", self.prefix)
    }

    fn of_channel(&self, channel: &str, what: &str) -> String {
        // Made for every event: one allocation.
        let mut name = String::with_capacity(self.prefix.len() + channel.len() + what.len() + 4 + 24);
        // Writing into memory does not fail.
        let _ = write!(name, "{}:{{{channel}}}:{what}", self.prefix);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let keys = Keys::new("fanfare");
        let channel = Channel::new("user:42").unwrap();
        assert_eq!(keys.log(&channel), "fanfare:{user:42}:log");
        assert_eq!(keys.once(&channel, "k"), "fanfare:{user:42}:once:k");
        assert_eq!(keys.sessions(&User::new("42").unwrap()), "fanfare:{user:42}:sessions");
        let node = NodeId::new("a").unwrap();
        assert_eq!(keys.lease(&node), "fanfare:node:a");
        assert_eq!(keys.control(&node), "fanfare:node:a:control");
    }

    #[test]
    fn a_live_topic_names_its_channel() {
        let keys = Keys::new("ff:x");
        let channel = Channel::new("room:7").unwrap();
        assert_eq!(keys.channel_of(keys.live(&channel).as_bytes()), Some("room:7"));
        for other in ["ff:x:{room:7}:log", "ff:{room:7}:live", "ff:x:wire:1", ""] {
            assert_eq!(keys.channel_of(other.as_bytes()), None, "{other}");
        }
    }
}
