//! Permissions of a token.

use serde::{Deserialize, Serialize};

use crate::rights::{Right, Rights};
use crate::{Channel, Pattern, User};

/// The `fanfare` claim of a token. A missing member grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object with subscribe, publish, cancel or admin")]
pub struct Grants {
    /// Channels that the bearer may follow, besides the user's own channel and `broadcast`.
    pub subscribe: Vec<Pattern>,
    /// Channels that the bearer may publish to.
    pub publish: Vec<Pattern>,
    /// Finite streams that the bearer may cancel, which `publish` includes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cancel: Vec<Pattern>,
    /// Rights beyond these channels; an admin may do everything.
    pub admin: Rights,
}

impl Grants {
    /// Returns grants that allow everything.
    pub fn all() -> Self {
        let every = || Pattern::new("*").into_iter().collect();
        Self { subscribe: every(), publish: every(), cancel: every(), admin: Rights::ADMIN }
    }

    /// Returns whether `user` may follow a channel and read its history. The user's own channel and `broadcast` need
    /// no grant; [`Pattern::opens`] says which patterns open the others. An internal channel needs the right to look.
    pub fn may_subscribe(&self, user: Option<&User>, channel: &Channel) -> bool {
        if channel.is_internal() {
            return self.admin.has(Right::Look);
        }
        let joined = *channel == Channel::broadcast() || user.is_some_and(|user| user.channel() == channel);
        joined || self.admin.is_admin() || opens(&self.subscribe, channel)
    }

    /// Returns whether `user` may follow every channel that a grant of `pattern` opens.
    pub fn covers_subscribe(&self, user: &User, pattern: &Pattern) -> bool {
        let text = pattern.as_str();
        let joined = text == Channel::broadcast().as_str() || text == user.channel().as_str();
        joined || self.admin.is_admin() || self.subscribe.iter().any(|own| own.covers(pattern))
    }

    /// Removes the capacity that the lists of patterns do not need, and returns the memory that they take, in bytes.
    pub fn compact(&mut self) -> usize {
        let lists = [&mut self.subscribe, &mut self.publish, &mut self.cancel].into_iter();
        lists
            .map(|list| {
                list.shrink_to_fit();
                list.iter().map(Pattern::memory).sum::<usize>()
            })
            .sum()
    }

    /// Returns whether there is any channel that the bearer may publish to.
    pub fn may_publish_somewhere(&self) -> bool {
        self.admin.has(Right::Publish) || !self.publish.is_empty()
    }

    /// Returns whether the bearer may publish to a channel. Nothing is granted unasked: not the user's own channel,
    /// and not `broadcast`. Only nodes publish to internal channels.
    pub fn may_publish(&self, channel: &Channel) -> bool {
        !channel.is_internal() && (self.admin.has(Right::Publish) || opens(&self.publish, channel))
    }

    /// Returns whether the bearer may end the finite stream of a channel as cancelled.
    pub fn may_cancel(&self, channel: &Channel) -> bool {
        self.may_publish(channel) || opens(&self.cancel, channel)
    }
}

/// Checks patterns against a channel. All access to channels uses this rule.
fn opens(patterns: &[Pattern], channel: &Channel) -> bool {
    patterns.iter().any(|pattern| pattern.opens(channel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite::StreamName;

    fn grants(json: &str) -> Grants {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_left_out_is_not_granted() {
        let anonymous = grants("{}");
        let user = User::new("7").unwrap();
        let room = Channel::new("room:1").unwrap();
        assert!(anonymous.may_subscribe(None, &Channel::broadcast()));
        assert!(anonymous.may_subscribe(Some(&user), user.channel()));
        assert!(!anonymous.may_subscribe(Some(&user), &room));
        assert!(!anonymous.may_publish(&room) && !anonymous.may_publish_somewhere());
        assert!(grants(r#"{"publish":["room:*"]}"#).may_publish_somewhere());
        assert!(grants(r#"{"admin":true}"#).may_publish_somewhere());
    }

    #[test]
    fn a_pattern_opens_a_reserved_channel_only_if_it_spells_out_the_namespace() {
        // Pattern, channel, whether a grant of the pattern opens the channel.
        let table = [
            ("*", "room:1", true),
            ("*", "user", true),
            ("*", "users:9", true),
            ("*", "broadcasts", true),
            ("u*", "user-9", true),
            ("*9", "room:9", true),
            ("room:*", "room:9", true),
            ("room:*", "user:9", false),
            ("*", "user:9", false),
            ("**", "user:9", false),
            ("*:*", "user:9", false),
            ("u*", "user:9", false),
            ("user*", "user:9", false),
            ("use*:9", "user:9", false),
            ("*user:9", "user:9", false),
            ("*ser:9", "user:9", false),
            ("*9", "user:9", false),
            ("*", "user:", false),
            ("User:*", "user:9", false),
            ("user:9", "user:9", true),
            ("user:9", "user:90", false),
            ("user:*", "user:9", true),
            ("user:*9", "user:9", true),
            ("user:9*", "user:90", true),
            ("user:*", "room:9", false),
            ("*", "broadcast", false),
            ("b*", "broadcast", false),
            ("*cast", "broadcast", false),
            ("broad*", "broadcast", false),
            ("*broadcast", "broadcast", false),
            ("broadcast", "broadcast", true),
            ("broadcast*", "broadcast", true),
            ("*", "streams:9", true),
        ];
        let user = User::new("7").unwrap();
        for (pattern, channel, opens) in table {
            let channel = Channel::new(channel).unwrap();
            let publish = grants(&format!(r#"{{"publish":["{pattern}"]}}"#));
            assert_eq!(publish.may_publish(&channel), opens, "publish {pattern} to {channel}");
            let subscribe = grants(&format!(r#"{{"subscribe":["{pattern}"]}}"#));
            let joined = channel == Channel::broadcast();
            for user in [None, Some(&user)] {
                let may = subscribe.may_subscribe(user, &channel);
                assert_eq!(may, opens || joined, "subscribe {pattern} to {channel} as {user:?}");
            }
            assert!(!publish.may_subscribe(None, &channel) || joined, "publish grants no subscribe");
            assert!(!subscribe.may_publish(&channel), "subscribe grants no publish");
        }
    }

    #[test]
    fn a_finite_stream_is_opened_by_a_pattern_that_spells_it_out() {
        let chat = StreamName::new("chat-7").unwrap();
        for (pattern, opens) in
            [("stream:chat-*", true), ("stream:*", true), ("*", false), ("st*", false), ("chat-7", false)]
        {
            let grants = grants(&format!(r#"{{"publish":["{pattern}"],"subscribe":["{pattern}"]}}"#));
            assert_eq!(grants.may_publish(chat.channel()), opens, "{pattern}");
            assert_eq!(grants.may_subscribe(None, chat.channel()), opens, "{pattern}");
        }
        assert!(
            Grants::all().may_publish(chat.channel()) && Grants::all().may_subscribe(None, chat.channel())
        );
    }

    #[test]
    fn a_grant_to_cancel_is_for_nothing_else() {
        let chat = StreamName::new("chat-7").unwrap();
        for (json, may) in [
            (r#"{"cancel":["stream:chat-*"]}"#, true),
            (r#"{"cancel":["*"]}"#, false),
            (r#"{"cancel":["stream:other"]}"#, false),
            (r#"{"publish":["stream:*"]}"#, true),
            (r#"{"subscribe":["stream:*"]}"#, false),
            (r#"{"admin":["publish"]}"#, true),
            (r#"{"admin":["look","disconnect"]}"#, false),
        ] {
            assert_eq!(grants(json).may_cancel(chat.channel()), may, "{json}");
        }
        let cancels = grants(r#"{"cancel":["stream:*"]}"#);
        assert!(!cancels.may_publish(chat.channel()) && !cancels.may_subscribe(None, chat.channel()));
        assert!(!cancels.may_publish_somewhere());
        assert_eq!(serde_json::to_value(&cancels).unwrap()["cancel"][0], "stream:*");
        assert!(
            serde_json::to_value(grants("{}")).unwrap().get("cancel").is_none(),
            "as nodes before knew it"
        );
    }

    #[test]
    fn a_user_follows_the_own_channel_and_may_not_publish_to_it_unasked() {
        let user = User::new("7").unwrap();
        let star = grants(r#"{"publish":["*"],"subscribe":["*"]}"#);
        assert!(star.may_subscribe(Some(&user), user.channel()));
        assert!(!star.may_publish(user.channel()));
        assert!(!star.may_subscribe(Some(&User::new("70").unwrap()), user.channel()));
        for channel in ["user:9", "broadcast", "room:1"] {
            let channel = Channel::new(channel).unwrap();
            let all = Grants::all();
            assert!(all.may_publish(&channel) && all.may_subscribe(None, &channel), "an admin, {channel}");
        }
    }

    #[test]
    fn the_right_to_publish_opens_every_channel_to_publish_only() {
        let user = User::new("7").unwrap();
        let publisher = grants(r#"{"admin":["publish"]}"#);
        let viewer = grants(r#"{"admin":["look","disconnect"]}"#);
        for channel in ["user:9", "broadcast", "room:1"] {
            let channel = Channel::new(channel).unwrap();
            assert!(publisher.may_publish(&channel) && !viewer.may_publish(&channel), "{channel}");
            let joined = channel == Channel::broadcast();
            for grants in [&publisher, &viewer] {
                assert_eq!(grants.may_subscribe(Some(&user), &channel), joined, "{channel}");
            }
        }
        assert!(publisher.may_publish_somewhere() && !viewer.may_publish_somewhere());
    }

    #[test]
    fn an_internal_channel_is_for_operators_to_follow_and_for_no_grant() {
        let user = User::new("7").unwrap();
        for name in ["fanfare:stats", "fanfare:"] {
            let channel = Channel::new(name).unwrap();
            for pattern in ["*", "fanfare:*", "fanfare:stats", "fanfare:", "f*", "*stats"] {
                let some = grants(&format!(r#"{{"subscribe":["{pattern}"],"publish":["{pattern}"]}}"#));
                assert!(!some.may_subscribe(Some(&user), &channel), "{pattern} {name}");
                assert!(!some.may_publish(&channel), "{pattern} {name}");
            }
            assert!(!grants(r#"{"admin":["publish","disconnect"]}"#).may_subscribe(Some(&user), &channel));
            assert!(grants(r#"{"admin":["look"]}"#).may_subscribe(None, &channel));
            assert!(Grants::all().may_subscribe(None, &channel) && !Grants::all().may_publish(&channel));
        }
        let other = Channel::new("fanfares").unwrap();
        assert!(grants(r#"{"publish":["*"]}"#).may_publish(&other));
    }

    #[test]
    fn a_grant_covers_what_it_opens_and_what_the_user_has_anyway() {
        let user = User::new("7").unwrap();
        let some = grants(r#"{"subscribe":["room:*"],"publish":["*"],"admin":["look","publish"]}"#);
        for (pattern, covered) in [
            ("room:1", true),
            ("room:*", true),
            ("user:7", true),
            ("broadcast", true),
            ("*", false),
            ("user:70", false),
            ("user:7*", false),
            ("broadcast*", false),
        ] {
            let pattern = Pattern::new(pattern).unwrap();
            assert_eq!(some.covers_subscribe(&user, &pattern), covered, "{pattern:?}");
            assert!(Grants::all().covers_subscribe(&user, &pattern), "an admin, {pattern:?}");
        }
    }

    #[test]
    fn an_unknown_grant_is_refused() {
        assert!(serde_json::from_str::<Grants>(r#"{"subscribe":[],"root":true}"#).is_err());
    }
}
