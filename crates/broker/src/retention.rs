//! How many events, and how old, a log keeps.

use std::time::Duration;

use fanfare_protocol::{Channel, Pattern};

/// Retention of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Number of events that are kept at least, unless they are older than `age`; the log may have a few more.
    pub events: usize,
    /// Maximum age of an event.
    pub age: Duration,
    /// How long the channel's last position is kept after its newest event; at least `age`. A client that reconnects
    /// later gets a `gap` event.
    pub positions: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: 1000, age: Duration::from_hours(1), positions: Duration::from_hours(7 * 24) }
    }
}

/// Retention of all channels: the first rule whose pattern matches applies, otherwise the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionRules {
    /// Rules, in order.
    pub rules: Vec<(Pattern, Retention)>,
    /// Retention of channels that match no rule.
    pub default: Retention,
}

impl RetentionRules {
    /// Returns the retention of a channel.
    pub fn of(&self, channel: &Channel) -> Retention {
        self.rule(channel).map_or(self.default, |(_, retention)| *retention)
    }

    /// Returns the rule that applies to a channel; `None` for the default.
    pub fn rule(&self, channel: &Channel) -> Option<&(Pattern, Retention)> {
        self.rules.iter().find(|(pattern, _)| pattern.matches(channel))
    }
}
