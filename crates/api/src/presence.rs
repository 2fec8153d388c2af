//! The response of `GET /v1/channels/{channel}/presence`.

use serde::{Deserialize, Serialize};

/// Who follows a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChannelPresence {
    /// The channel.
    pub channel: String,
    /// Number of sessions, also of those that wait for their clients.
    pub sessions: usize,
    /// Number of users.
    pub users: usize,
    /// The users that were asked for, in the order of the bytes of their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_ids: Option<Vec<String>>,
    /// The user after whom the next page begins, if there are more users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_listed_only_if_they_were_asked_for() {
        let count =
            ChannelPresence { channel: "room:1".into(), sessions: 3, users: 2, user_ids: None, next: None };
        let listed =
            ChannelPresence { user_ids: Some(vec!["7".into()]), next: Some("7".into()), ..count.clone() };
        for (presence, text) in [
            (count, r#"{"channel":"room:1","sessions":3,"users":2}"#),
            (listed, r#"{"channel":"room:1","sessions":3,"users":2,"user_ids":["7"],"next":"7"}"#),
        ] {
            assert_eq!(serde_json::to_string(&presence).unwrap(), text);
            assert_eq!(serde_json::from_str::<ChannelPresence>(text).unwrap(), presence);
        }
    }
}
