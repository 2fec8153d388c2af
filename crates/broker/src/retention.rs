//! How much of a channel is kept.

use std::time::Duration;

use fanfare_protocol::{Channel, Pattern};

/// What is kept of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// At least this many events, if they are young enough; the log may hold a few more.
    pub events: usize,
    /// How old an event may become.
    pub age: Duration,
    /// How long the channel's last position outlives its newest event. At least `age`. Beyond it, a client that
    /// comes back is told of a gap.
    pub positions: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: 1000, age: Duration::from_hours(1), positions: Duration::from_hours(7 * 24) }
    }
}

/// Retention for every channel: the first rule whose pattern matches, else the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionRules {
    /// Tried in this order.
    pub rules: Vec<(Pattern, Retention)>,
    /// For channels that no rule matches.
    pub default: Retention,
}

impl RetentionRules {
    /// Returns what is kept of a channel.
    pub fn of(&self, channel: &Channel) -> Retention {
        let rule = self.rules.iter().find(|(pattern, _)| pattern.matches(channel));
        rule.map_or(self.default, |(_, retention)| *retention)
    }
}
