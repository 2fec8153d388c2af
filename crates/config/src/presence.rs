//! Which channels have their presence recorded: `session.presence_channels`.

use std::sync::Arc;

use fanfare_protocol::{Channel, Pattern};
use serde_json::{Value as Json, json};

use crate::value::{Input, Value, list};

/// Maximum number of patterns: each channel of each new stream is compared with all of them.
const MAX_PATTERNS: usize = 100;

/// The channels whose presence is recorded, by patterns. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceChannels(Arc<[Pattern]>);

impl PresenceChannels {
    /// Returns whether the presence of a channel is recorded. `user:<id>` and `broadcast` need a pattern that begins with their
    /// names, as in grants: else `*` would record all sessions in one set, that of `broadcast`.
    pub fn records(&self, channel: &Channel) -> bool {
        self.0.iter().any(|pattern| pattern.opens(channel))
    }
}

impl FromIterator<Pattern> for PresenceChannels {
    fn from_iter<T: IntoIterator<Item = Pattern>>(patterns: T) -> Self {
        Self(patterns.into_iter().collect())
    }
}

impl Value for PresenceChannels {
    fn read(input: &Input) -> Result<Self, String> {
        let texts = Vec::<String>::read(input)?;
        if texts.len() > MAX_PATTERNS {
            return Err(format!("{} patterns; at most {MAX_PATTERNS} are allowed", texts.len()));
        }
        let pattern = |text: &String| Pattern::new(text).map_err(|error| format!("{text:?}: {error}"));
        texts.iter().map(pattern).collect::<Result<_, _>>().map(Self)
    }

    fn right() -> String {
        format!(
            "a list of at most {MAX_PATTERNS} patterns of channels, like room:* or doc:*; separated by commas in the environment"
        )
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": { "type": "string" }, "maxItems": MAX_PATTERNS })
    }

    fn show(input: &Input) -> String {
        list::<Vec<String>, _>(input)
    }

    fn unset() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_say_which_channels_are_recorded() {
        let records = |patterns: &str, channel: &str| {
            PresenceChannels::read(&patterns.into()).unwrap().records(&Channel::new(channel).unwrap())
        };
        assert!(records("room:*, doc:1", "room:7") && records("room:*,doc:1", "doc:1"));
        assert!(
            !records("room:*,doc:1", "doc:2") && !PresenceChannels::default().records(&Channel::broadcast())
        );
        assert!(records("*", "room:7") && !records("*", "broadcast") && !records("*", "user:7"));
        assert!(records("broadcast", "broadcast") && records("user:*", "user:7"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (wrong, word) in
            [("room:* *", "room:* *"), (&"a,".repeat(101), "101 patterns"), (&"a".repeat(300), "bytes")]
        {
            let error = PresenceChannels::read(&wrong.into()).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
