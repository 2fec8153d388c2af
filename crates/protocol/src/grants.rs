//! What a token lets its bearer do.

use serde::{Deserialize, Serialize};

use crate::{Channel, Pattern, User};

/// The `fanfare` claim of a token. What is left out is not granted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Channels that may be followed, beside the user's own and `broadcast`.
    pub subscribe: Vec<Pattern>,
    /// Channels that may be published to.
    pub publish: Vec<Pattern>,
    /// Whether sessions, nodes and every channel's history may be seen and changed.
    pub admin: bool,
}

impl Grants {
    /// Everything.
    pub fn all() -> Self {
        let every = || Pattern::new("*").into_iter().collect();
        Self { subscribe: every(), publish: every(), admin: true }
    }

    /// Whether `user` may follow a channel. `user:<id>` is private: only a pattern that spells out the prefix
    /// `user:` opens somebody else's.
    pub fn may_subscribe(&self, user: Option<&User>, channel: &Channel) -> bool {
        if *channel == Channel::broadcast() || user.is_some_and(|user| user.channel() == channel) {
            return true;
        }
        let private = channel.user().is_some();
        self.admin
            || self.subscribe.iter().any(|pattern| {
                pattern.matches(channel) && (!private || pattern.as_str().starts_with("user:"))
            })
    }

    /// Whether the bearer may publish to a channel.
    pub fn may_publish(&self, channel: &Channel) -> bool {
        self.admin || self.publish.iter().any(|pattern| pattern.matches(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(json: &str) -> Grants {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_left_out_is_not_granted() {
        let nobody = grants("{}");
        let user = User::new("7").unwrap();
        let room = Channel::new("room:1").unwrap();
        assert!(nobody.may_subscribe(None, &Channel::broadcast()));
        assert!(nobody.may_subscribe(Some(&user), user.channel()));
        assert!(!nobody.may_subscribe(Some(&user), &room));
        assert!(!nobody.may_publish(&room));
    }

    #[test]
    fn a_star_does_not_open_private_channels() {
        let star = grants(r#"{"subscribe":["*"]}"#);
        let spelt = grants(r#"{"subscribe":["user:*"]}"#);
        let private = Channel::new("user:9").unwrap();
        assert!(star.may_subscribe(None, &Channel::new("room:1").unwrap()));
        assert!(!star.may_subscribe(None, &private));
        assert!(spelt.may_subscribe(None, &private));
    }

    #[test]
    fn an_unknown_grant_is_refused() {
        assert!(serde_json::from_str::<Grants>(r#"{"subscribe":[],"root":true}"#).is_err());
    }
}
