//! Settings of retention: `[retention]`.

use std::time::Duration;

use fanfare_broker::{Retention, RetentionRules};
use fanfare_protocol::Pattern;
use serde::{Deserialize, Serialize};

/// `[retention]`: retention of every channel, and rules for some channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Number of events that a channel keeps at least, unless they are older than `retention.age`. Default: `1000`.
    /// `FANFARE_RETENTION__EVENTS`.
    pub events: usize,
    /// Maximum age of a stored event. Default: `1h`. `FANFARE_RETENTION__AGE`.
    #[serde(with = "humantime_serde")]
    pub age: Duration,
    /// How long a channel's last position is kept after its newest event; at least `retention.age`. Default: `7d`.
    /// `FANFARE_RETENTION__POSITIONS`.
    #[serde(with = "humantime_serde")]
    pub positions: Duration,
    /// Different retention for channels that match a pattern; the first matching rule applies.
    /// `FANFARE_RETENTION__RULES`.
    pub rules: Vec<RetentionRule>,
    /// Approximate number of entries that the lifecycle stream keeps. Default: `100000`.
    /// `FANFARE_RETENTION__LIFECYCLE_EVENTS`.
    pub lifecycle_events: usize,
    /// Approximate number of entries that the dead-letter stream keeps. Default: `10000`.
    /// `FANFARE_RETENTION__DEAD_EVENTS`.
    pub dead_events: usize,
}

/// Retention of channels that match a pattern. A missing value is that of every channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Pattern of channel names.
    pub channel: Pattern,
    /// As in [`RetentionConfig`].
    #[serde(default)]
    pub events: Option<usize>,
    /// As in [`RetentionConfig`].
    #[serde(default, with = "humantime_serde")]
    pub age: Option<Duration>,
    /// As in [`RetentionConfig`].
    #[serde(default, with = "humantime_serde")]
    pub positions: Option<Duration>,
}

impl RetentionConfig {
    /// Returns the rules for the broker.
    pub fn rules(&self) -> RetentionRules {
        let default = Retention { events: self.events, age: self.age, positions: self.positions };
        let rule = |rule: &RetentionRule| {
            let retention = Retention {
                events: rule.events.unwrap_or(default.events),
                age: rule.age.unwrap_or(default.age),
                positions: rule.positions.unwrap_or(default.positions),
            };
            (rule.channel.clone(), retention)
        };
        RetentionRules { rules: self.rules.iter().map(rule).collect(), default }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let Retention { events, age, positions } = Retention::default();
        Self { events, age, positions, rules: Vec::new(), lifecycle_events: 100_000, dead_events: 10_000 }
    }
}
