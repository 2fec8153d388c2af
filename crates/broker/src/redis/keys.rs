//! Names of keys and topics in Redis.
//!
//! `{…}` is a hash tag: all names of one channel share a slot of a Redis Cluster; different channels may not.

use fanfare_protocol::finite::StreamName;
use fanfare_protocol::reader::Reader;
use fanfare_protocol::wire::Topic;
use fanfare_protocol::{Channel, User};
use uuid::Uuid;

use super::key::Key;
use super::prefix::Prefix;
use crate::NodeId;

/// Names under one prefix. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Prefix,
}

impl Keys {
    pub(super) fn new(prefix: Prefix) -> Self {
        Self { prefix }
    }

    pub(super) fn prefix(&self) -> &str {
        self.prefix.as_str()
    }

    pub(super) fn log(&self, channel: &Channel) -> Key {
        self.of_channel(channel.as_str(), "log")
    }

    pub(super) fn last(&self, channel: &Channel) -> Key {
        self.of_channel(channel.as_str(), "last")
    }

    /// Returns the name of one of the channel's topics.
    pub(super) fn topic(&self, channel: &Channel, topic: Topic) -> Key {
        self.of_channel(channel.as_str(), topic_name(channel, topic))
    }

    pub(super) fn once(&self, channel: &Channel, key: &str) -> Key {
        let mut name = self.tagged(channel.as_str(), "once:");
        name.push_str(key);
        Key::new(name)
    }

    pub(super) fn sessions(&self, user: &User) -> Key {
        self.of_channel(user.channel().as_str(), "sessions")
    }

    /// Returns the name of the set of a user's readers, by the time of their last acknowledgement.
    pub(super) fn readers(&self, user: &User) -> Key {
        self.of_channel(user.channel().as_str(), "acked")
    }

    /// Returns the name of a reader's acknowledged positions: that of the readers, `:` and the reader.
    pub(super) fn acked(&self, user: &User, reader: &Reader) -> Key {
        self.of_channel(user.channel().as_str(), &format!("acked:{reader}"))
    }

    /// Returns the name of the stream of receipts.
    pub(super) fn receipts(&self) -> Key {
        self.of("receipts")
    }

    /// Returns the name of a user's tickets.
    pub(super) fn tickets(&self, user: &User) -> Key {
        self.of_channel(user.channel().as_str(), "tickets")
    }

    /// Returns the name of a part of a finite stream: `meta`, `data` or `refs`.
    pub(super) fn stream(&self, name: &StreamName, part: &str) -> Key {
        self.of_channel(name.channel().as_str(), part)
    }

    /// Returns what is before and behind the name of a stream in the name of one of its keys.
    pub(super) fn around_stream(&self, part: &str) -> (String, String) {
        (format!("{}:{{stream:", self.prefix()), format!("}}:{part}"))
    }

    pub(super) fn nodes(&self) -> Key {
        self.of("nodes")
    }

    pub(super) fn lease(&self, node: &NodeId) -> Key {
        Key::new(format!("{}:node:{node}", self.prefix))
    }

    /// Returns the name of the sorted set of the sessions and users that follow a channel.
    pub(super) fn presence(&self, channel: &str) -> Key {
        Key::new(format!("{}:presence:{channel}", self.prefix))
    }

    /// Returns the name of the set of users and channels to check again, with the time: they may have no session then.
    pub(super) fn leaving(&self) -> Key {
        self.of("leaving")
    }

    /// Returns the name of a node's index: `<session> <user>` of each session that the node owns.
    pub(super) fn index(&self, node: &NodeId) -> Key {
        Key::new(format!("{}:node:{node}:sessions", self.prefix))
    }

    /// Returns the name of the index of an earlier process with the same node id.
    pub(super) fn former(&self, node: &NodeId) -> Key {
        Key::new(format!("{}:node:{node}:former", self.prefix))
    }

    /// Returns the name of the key that identifies the process to which the index belongs. It outlives the lease.
    pub(super) fn incarnation(&self, node: &NodeId) -> Key {
        Key::new(format!("{}:node:{node}:incarnation", self.prefix))
    }

    pub(super) fn control(&self, node: &NodeId) -> Key {
        Key::new(format!("{}:node:{node}:control", self.prefix))
    }

    pub(super) fn sweeper(&self) -> Key {
        self.of("sweeper")
    }

    pub(super) fn ingest(&self) -> Key {
        self.of("ingest")
    }

    pub(super) fn ingest_leader(&self) -> Key {
        self.of("ingest:leader")
    }

    pub(super) fn ingest_dead(&self) -> Key {
        self.of("ingest:dead")
    }

    pub(super) fn lifecycle(&self) -> Key {
        self.of("lifecycle")
    }

    /// Returns the name of the log of revocations.
    pub(super) fn revocations(&self) -> Key {
        self.of("revocations")
    }

    /// Returns the probe topic of a subscriber connection.
    pub(super) fn probe(&self, connection: Uuid) -> Key {
        Key::new(format!("{}:probe:{connection}", self.prefix))
    }

    /// Parses the name of a topic. Returns the channel's name and the kind of topic.
    pub(super) fn channel_of<'a>(&self, name: &'a [u8]) -> Option<(&'a str, Topic)> {
        let rest = name.strip_prefix(self.prefix().as_bytes())?.strip_prefix(b":{")?;
        let (channel, topic) = match rest.strip_suffix(b"}:live") {
            Some(channel) => (channel, Topic::Live),
            None => match rest.strip_suffix(b"}:nodes") {
                Some(channel) => (channel, Topic::Ephemeral),
                None => (rest.strip_suffix(b"}:ephemeral")?, Topic::Ephemeral),
            },
        };
        Some((std::str::from_utf8(channel).ok()?, topic))
    }

    fn of(&self, what: &str) -> Key {
        Key::new(format!("{}:{what}", self.prefix))
    }

    fn of_channel(&self, channel: &str, what: &str) -> Key {
        Key::new(self.tagged(channel, what))
    }

    fn tagged(&self, channel: &str, what: &str) -> String {
        // Called several times for every event: `write!` costs five times as much.
        [self.prefix(), ":{", channel, "}:", what].concat()
    }
}

/// Returns the last part of a topic's name. An ACL for publishers of ephemeral events does not include that of an internal
/// channel, so they cannot forge what nodes say.
fn topic_name(channel: &Channel, topic: Topic) -> &'static str {
    match topic {
        Topic::Live => "live",
        Topic::Ephemeral if channel.is_internal() => "nodes",
        Topic::Ephemeral => "ephemeral",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::prefix::TAKEN;
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let keys = Keys::new(Prefix::new("fanfare").unwrap());
        let channel = Channel::new("user:42").unwrap();
        assert_eq!(keys.log(&channel).as_str(), "fanfare:{user:42}:log");
        assert_eq!(keys.once(&channel, "k").as_str(), "fanfare:{user:42}:once:k");
        assert_eq!(keys.sessions(&User::new("42").unwrap()).as_str(), "fanfare:{user:42}:sessions");
        assert_eq!(keys.tickets(&User::new("42").unwrap()).as_str(), "fanfare:{user:42}:tickets");
        let node = NodeId::new("a").unwrap();
        assert_eq!(keys.lease(&node).as_str(), "fanfare:node:a");
        assert_eq!(keys.control(&node).as_str(), "fanfare:node:a:control");
    }

    #[test]
    fn a_topic_names_its_channel() {
        let keys = Keys::new(Prefix::new("ff:x").unwrap());
        for name in ["room:7", "fanfare:stats"] {
            let channel = Channel::new(name).unwrap();
            for topic in [Topic::Live, Topic::Ephemeral] {
                let of = keys.topic(&channel, topic);
                assert_eq!(keys.channel_of(of.as_str().as_bytes()), Some((name, topic)));
            }
        }
        let stats = keys.topic(&Channel::stats(), Topic::Ephemeral);
        assert_eq!(stats.as_str(), "ff:x:{fanfare:stats}:nodes");
        for other in ["ff:x:{room:7}:log", "ff:{room:7}:live", "ff:x:probe:1", ""] {
            assert_eq!(keys.channel_of(other.as_bytes()), None, "{other}");
        }
    }

    /// Everything that has a name, in keys and in topics, under one prefix.
    fn names(prefix: &Prefix, channel: &Channel, once: &str, node: &NodeId, connection: Uuid) -> Vec<String> {
        let keys = Keys::new(prefix.clone());
        let user = User::new(channel.as_str().trim_start_matches("user:"));
        let mut names = vec![
            keys.log(channel),
            keys.last(channel),
            keys.topic(channel, Topic::Live),
            keys.topic(channel, Topic::Ephemeral),
            keys.once(channel, once),
            keys.nodes(),
            keys.leaving(),
            keys.presence(channel.as_str()),
            keys.lease(node),
            keys.index(node),
            keys.former(node),
            keys.incarnation(node),
            keys.control(node),
            keys.sweeper(),
            keys.ingest(),
            keys.ingest_leader(),
            keys.ingest_dead(),
            keys.lifecycle(),
            keys.revocations(),
            keys.receipts(),
            keys.probe(connection),
        ];
        if let Ok(user) = user {
            let reader = Reader::Device("x".parse().unwrap());
            names.extend([
                keys.sessions(&user),
                keys.tickets(&user),
                keys.readers(&user),
                keys.acked(&user, &reader),
            ]);
        }
        names.into_iter().map(|name| name.to_string()).collect()
    }

    /// Texts that are likely to be confused: few words, those of our own names among them.
    fn prefix() -> impl Strategy<Value = Prefix> {
        let word = "(a|A|x|node|nodes|ingest|presence|probe|leader|dead|leaving|sweeper|lifecycle|revocations|receipts|acked|sessions|live|log|[A-Za-z0-9]{1,3})";
        proptest::string::string_regex(&format!("{word}([:_.-]{word}){{0,4}}"))
            .unwrap()
            .prop_filter_map("a prefix that is refused", |text| Prefix::new(&text).ok())
    }

    /// Two prefixes, of which one often continues the other, or differs only in a separator or in case.
    fn two_prefixes() -> impl Strategy<Value = (Prefix, Prefix)> {
        let more = prop::sample::select(vec![
            ":node",
            ":ingest",
            ":presence",
            ":probe",
            ":x",
            ":X",
            "_x",
            "-x",
            ".x",
        ]);
        let near = (prefix(), more.clone(), more).prop_filter_map(
            "a prefix that is refused",
            |(one, more, other)| {
                let shorter =
                    if more == other { one.clone() } else { Prefix::new(&format!("{one}{other}")).ok()? };
                Some((shorter, Prefix::new(&format!("{one}{more}")).ok()?))
            },
        );
        let any = (prefix(), prefix());
        let longer = (prefix(), prop::sample::select(vec![":node", ":ingest", ":presence", ":probe", ":x"]));
        let longer = longer.prop_filter_map("a prefix that is refused", |(one, more)| {
            let other = Prefix::new(&format!("{one}{more}")).ok()?;
            Some((one, other))
        });
        prop_oneof![any, near, longer]
    }

    fn node() -> impl Strategy<Value = NodeId> {
        let ours =
            ["nodes", "node", "sessions", "leaving", "sweeper", "ingest", "lifecycle", "probe", "dead", "x"];
        prop::sample::select(ours.to_vec()).prop_map(|text| NodeId::new(text).unwrap())
    }

    fn channel() -> impl Strategy<Value = Channel> {
        "(user:|fanfare:)?(a|x|node:x|broadcast|[a-z:.@-]{1,5})".prop_map(|text| Channel::new(&text).unwrap())
    }

    fn once() -> impl Strategy<Value = String> {
        r"(a|\}:live|\{a\}:log|:|[a-z:]{1,6})"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn no_two_clusters_share_a_name(
            (one, other) in two_prefixes(),
            channels in (channel(), channel()),
            keys in (once(), once()),
            nodes in (node(), node()),
        ) {
            prop_assume!(one != other);
            let connection = Uuid::nil();
            let ours = names(&one, &channels.0, &keys.0, &nodes.0, connection);
            let theirs = names(&other, &channels.1, &keys.1, &nodes.1, connection);
            for name in &ours {
                prop_assert!(!theirs.contains(name), "{name} is a name of both {one} and {other}");
            }
            // Functions of all libraries share one namespace, in which case is ignored.
            prop_assert_ne!(one.library().to_ascii_lowercase(), other.library().to_ascii_lowercase());
        }

        #[test]
        fn no_two_things_of_a_cluster_share_a_name(
            prefix in prefix(),
            channel in channel(),
            once in once(),
            node in node(),
        ) {
            let names = names(&prefix, &channel, &once, &node, Uuid::nil());
            let distinct: std::collections::HashSet<_> = names.iter().collect();
            prop_assert_eq!(distinct.len(), names.len());
        }
    }

    #[test]
    fn a_longer_prefix_is_apart_from_every_name_of_a_shorter_one() {
        // All pairs of a prefix and a longer one that repeats a word of our names: also what is refused today must be
        // refused for a reason.
        let node = |id| NodeId::new(id).unwrap();
        let channel = Channel::new("a").unwrap();
        let short = Prefix::new("a").unwrap();
        let ours: Vec<_> = [
            "x",
            "nodes",
            "leaving",
            "sweeper",
            "ingest",
            "lifecycle",
            "revocations",
            "receipts",
            "node",
            "presence",
            "probe",
        ]
        .iter()
        .flat_map(|id| names(&short, &channel, "k", &node(id), Uuid::nil()))
        .collect();
        let words: std::collections::HashSet<String> = ours
            .iter()
            .flat_map(|name| name.split(':').skip(1).map(str::to_owned))
            .filter(|word| !word.contains(['{', '}']))
            .collect();
        assert!(TAKEN.iter().all(|taken| words.contains(*taken)), "{words:?}");
        for word in words {
            let Ok(long) = Prefix::new(&format!("a:{word}")) else {
                assert!(TAKEN.contains(&&*word) || word.contains("--"), "{word}");
                continue;
            };
            for id in ["x", "sessions", "former", "control", "incarnation"] {
                for name in names(&long, &channel, "k", &node(id), Uuid::nil()) {
                    assert!(!ours.contains(&name), "{name}");
                }
            }
        }
    }
}
