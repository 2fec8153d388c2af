//! Settings of retention: `[retention]`.

use std::time::Duration;

use config::Map;
use fanfare_broker::{Retention, RetentionRules};
use fanfare_protocol::Pattern;
use serde_json::{Value as Json, json};

use crate::check::Checks;
use crate::setting::settings;
use crate::value::{Input, Value, plain, split, text};
use crate::{Config, schema};

settings! {
    /// `[retention]`: retention of every channel, and rules for some channels.
    pub struct RetentionConfig = "retention", |config| config.retention => {
        /// Number of events that a channel keeps at least, unless they are older than `retention.age`.
        events: usize = "1000", in "1" to "100000000";
        /// Maximum age of a stored event.
        age: Duration = "1h", in "1ms" to "366d";
        /// How long a channel's last position is kept after its newest event; at least `retention.age`.
        positions: Duration = "7d", in "0s" to "366d";
        /// Different retention for channels that match a pattern; the first matching rule applies.
        rules: Vec<RetentionRule>;
        /// Approximate number of entries that the lifecycle stream keeps.
        lifecycle_events: usize = "100000", in "1" to "100000000";
        /// Approximate number of entries that the dead-letter stream keeps.
        dead_events: usize = "10000", in "1" to "100000000";
    }
}

/// Retention of channels that match a pattern. A missing value is that of every channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Pattern of channel names.
    pub channel: Pattern,
    /// As in [`RetentionConfig`].
    pub events: Option<usize>,
    /// As in [`RetentionConfig`].
    pub age: Option<Duration>,
    /// As in [`RetentionConfig`].
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

impl RetentionRule {
    /// Reads a rule from a table, as a file has it.
    fn of_table(table: &Map<String, config::Value>) -> Result<Self, String> {
        let channel = table.get("channel").ok_or("a rule has no channel")?;
        let channel = Pattern::new(&text(&channel.kind)?).map_err(|error| error.to_string())?;
        let mut rule = Self { channel, events: None, age: None, positions: None };
        for (name, value) in table {
            let read = match name.as_str() {
                "channel" => Ok(()),
                "events" => Value::read(&value.kind).map(|events| rule.events = Some(events)),
                "age" => Value::read(&value.kind).map(|age| rule.age = Some(age)),
                "positions" => Value::read(&value.kind).map(|positions| rule.positions = Some(positions)),
                _ => Err("is not one of events, age, positions".to_owned()),
            };
            read.map_err(|wrong| format!("{name:?} in the rule for {}: {wrong}", rule.channel.as_str()))?;
        }
        Ok(rule)
    }
}

impl Value for Vec<RetentionRule> {
    fn read(input: &Input) -> Result<Self, String> {
        match input {
            Input::Array(items) => {
                let table = |item: &config::Value| match &item.kind {
                    Input::Table(table) => RetentionRule::of_table(table),
                    _ => Err("a rule is not a table with channel, events, age and positions".to_owned()),
                };
                items.iter().map(table).collect()
            }
            Input::String(text) => {
                split(text).map(|rule| RetentionRule::of_table(&table_of(rule)?)).collect()
            }
            _ => Err("not a list of rules".to_owned()),
        }
    }

    fn right() -> String {
        "a list of tables with channel, events, age and positions; in the environment like room:* events=100 age=10m, \
         log:* events=5"
            .to_owned()
    }

    fn schema() -> Json {
        let values = json!({
            "channel": String::schema(),
            "events": usize::schema(),
            "age": Duration::schema(),
            "positions": Duration::schema(),
        });
        schema::tables(&values, &["channel"])
    }

    /// Shows the rules in the form of the environment. An invalid list is shown as written.
    fn show(input: &Input) -> String {
        let Some(tables) = tables_of(input) else { return plain(input) };
        let rule = |table: &Map<String, config::Value>| {
            let of = |name: &str| table.get(name).map(|value| plain(&value.kind));
            let rest = ["events", "age", "positions"]
                .into_iter()
                .filter_map(|name| of(name).map(|value| format!(" {name}={value}")));
            of("channel").unwrap_or_default() + &rest.collect::<String>()
        };
        tables.iter().map(rule).collect::<Vec<_>>().join(", ")
    }

    fn unset() -> Self {
        Self::new()
    }
}

/// Returns the rules as tables, whichever source they are from; `None` if they are neither tables nor a text of rules.
fn tables_of(input: &Input) -> Option<Vec<Map<String, config::Value>>> {
    let table = |item: &config::Value| match &item.kind {
        Input::Table(table) => Some(table.clone()),
        _ => None,
    };
    match input {
        Input::Array(items) => items.iter().map(table).collect(),
        Input::String(text) => split(text).map(|rule| table_of(rule).ok()).collect(),
        _ => None,
    }
}

/// Parses one rule as written in the environment: `room:* events=100 age=10m`.
fn table_of(rule: &str) -> Result<Map<String, config::Value>, String> {
    let mut words = rule.split_whitespace();
    // `split` leaves no empty item.
    let channel = words.next().unwrap_or_default();
    let mut table = Map::from_iter([("channel".to_owned(), config::Value::from(channel))]);
    for word in words {
        let (name, value) = word
            .split_once('=')
            .filter(|(name, _)| ["events", "age", "positions"].contains(name))
            .ok_or_else(|| {
                format!("{word:?} in the rule for {channel} is not one of events=, age=, positions=")
            })?;
        if table.insert(name.to_owned(), config::Value::from(value)).is_some() {
            return Err(format!("the rule for {channel} has {name}= twice"));
        }
    }
    Ok(table)
}

/// Checks that positions outlive events, for all channels and in each rule.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    let retention = &config.retention;
    checks.hold(
        retention.positions >= retention.age,
        &["retention.positions", "retention.age"],
        "a channel's last position would expire before its events",
        "retention.positions at least as long as retention.age",
    );
    for (pattern, rule) in &retention.rules().rules {
        checks.hold(
            rule.positions >= rule.age && rule.events >= 1 && rule.age >= Duration::from_millis(1),
            &["retention.rules"],
            &format!(
                "the rule for {} keeps {} events for {} and positions for {}",
                pattern.as_str(),
                rule.events,
                humantime::format_duration(rule.age),
                humantime::format_duration(rule.positions)
            ),
            "events at least 1, age at least 1ms, positions at least as long as age",
        );
    }
}

#[cfg(test)]
mod tests {
    use config::{File, FileFormat, Source as _};

    use super::*;

    fn read(text: &str) -> Result<Vec<RetentionRule>, String> {
        Value::read(&Input::from(text))
    }

    /// Returns the value of `rules` in a file.
    fn rules_of(file: &str) -> Input {
        File::from_str(file, FileFormat::Toml).collect().unwrap()["rules"].kind.clone()
    }

    #[test]
    fn rules_have_a_form_for_the_environment() {
        let text = "room:* events=100 age=10m, log:* positions=2d";
        let rules = read(text).unwrap();
        assert_eq!(rules[0].events, Some(100));
        assert_eq!(rules[1].positions, Some(Duration::from_hours(48)));
        let input = rules_of("rules = [{ channel = \"room:*\", age = \"10m\", events = 100 }]");
        assert_eq!(Vec::<RetentionRule>::read(&input).unwrap(), rules[..1]);
        assert_eq!(Vec::<RetentionRule>::show(&input), "room:* events=100 age=10m");
    }

    #[test]
    fn a_rule_that_is_wrong_is_named() {
        for (text, word) in [
            ("room:* evens=100", "evens=100"),
            ("a age=1s age=2s", "twice"),
            ("a events=-1", "\"events\" in the rule for a: not a whole number"),
            ("a age=5", "\"age\" in the rule for a"),
            ("a positions=9999d", "longer than 366 days"),
            ("room{} events=1", "'{' at byte 4"),
        ] {
            assert!(read(text).unwrap_err().contains(word), "{text}: {:?}", read(text));
        }
        for (text, word) in [
            ("rules = [1]", "not a table"),
            ("rules = [{ events = 1 }]", "no channel"),
            ("rules = [{ channel = \"a\", until = 1 }]", "\"until\""),
            ("rules = 5", "not a list"),
        ] {
            let wrong = Vec::<RetentionRule>::read(&rules_of(text)).unwrap_err();
            assert!(wrong.contains(word), "{text}: {wrong}");
        }
    }
}
