//! The response of `GET /v1/channels/{channel}/settings`.

use serde::{Deserialize, Serialize};

/// The settings of a node that are in force for a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChannelSettings {
    /// The channel.
    pub channel: String,
    /// How much of its log is kept.
    pub retention: ChannelRetention,
    /// Whether its presence is recorded.
    pub presence: bool,
}

/// How much of a channel's log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChannelRetention {
    /// The pattern of the rule that applies; `None` for the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Number of events.
    pub events: usize,
    /// Maximum age of an event, in milliseconds.
    pub age: u64,
    /// How long the channel's last position is kept, in milliseconds.
    pub positions: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_named_if_there_is_one() {
        let retention = ChannelRetention { rule: None, events: 5, age: 6, positions: 7 };
        let settings = ChannelSettings { channel: "a".into(), retention, presence: false };
        let text = r#"{"channel":"a","retention":{"events":5,"age":6,"positions":7},"presence":false}"#;
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
        assert_eq!(serde_json::from_str::<ChannelSettings>(text).unwrap(), settings);
    }
}
