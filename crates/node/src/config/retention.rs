//! How much of each channel is kept: `[retention]`.

use std::time::Duration;

use fanfare_broker::{Retention, RetentionRules};
use fanfare_protocol::Pattern;
use serde::{Deserialize, Serialize};

/// `[retention]`: for every channel, and rules for some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// How many events a channel keeps at least, if they are young enough. `FANFARE_RETENTION__EVENTS`.
    pub events: usize,
    /// How old a kept event may become. `FANFARE_RETENTION__AGE`.
    #[serde(with = "humantime_serde")]
    pub age: Duration,
    /// How long a channel's last position outlives its newest event; at least `age`.
    /// `FANFARE_RETENTION__POSITIONS`.
    #[serde(with = "humantime_serde")]
    pub positions: Duration,
    /// Other figures for channels that match a pattern; the first rule that matches counts.
    /// `FANFARE_RETENTION__RULES`.
    pub rules: Vec<RetentionRule>,
    /// About how many entries the lifecycle stream keeps. `FANFARE_RETENTION__LIFECYCLE_EVENTS`.
    pub lifecycle_events: usize,
    /// About how many intake entries that could not be published are kept. `FANFARE_RETENTION__DEAD_EVENTS`.
    pub dead_events: usize,
}

/// One rule. What it leaves out is as for every channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Which channels.
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
    /// The rules as the brokers take them.
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
