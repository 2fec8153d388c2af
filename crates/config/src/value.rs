//! Parses and shows the values of settings.

use bytesize::ByteSize;
use config::{Map, Value, ValueKind};

use crate::secret::MASK;
use crate::setting::{Kind, MAX_DURATION};

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The setting is not set and has its default.
    Default,
    /// The file with this path.
    File(String),
    /// The environment variable with this name.
    Variable(String),
    /// The flag with this name.
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Converts a value to the canonical form of its kind. Parses the text of environment variables and flags.
pub(crate) fn read(kind: Kind, value: Value) -> Result<Value, String> {
    match kind {
        Kind::Count => count(value),
        Kind::Switch => switch(value),
        Kind::List => list(value),
        Kind::Rules => rules(value),
        Kind::Duration => text(value).and_then(duration),
        Kind::Size => text(value).and_then(size),
        Kind::Choice(words) => text(value).and_then(|text| match text.as_str() {
            word if words.contains(&word) => Ok(Value::from(text)),
            _ => Err("unknown value".to_owned()),
        }),
        Kind::Text | Kind::Secret | Kind::Url | Kind::Address => text(value).map(Value::from),
    }
}

fn text(value: Value) -> Result<String, String> {
    match value.kind {
        ValueKind::String(text) => Ok(text),
        ValueKind::I64(number) => Ok(number.to_string()),
        ValueKind::U64(number) => Ok(number.to_string()),
        _ => Err("not a text".to_owned()),
    }
}

fn duration(text: String) -> Result<Value, String> {
    let duration = humantime::parse_duration(&text).map_err(|error| error.to_string())?;
    if duration > MAX_DURATION {
        return Err("longer than a year".to_owned());
    }
    Ok(Value::from(text))
}

fn size(text: String) -> Result<Value, String> {
    let _: ByteSize = text.parse()?;
    Ok(Value::from(text))
}

fn count(value: Value) -> Result<Value, String> {
    let number = match value.kind {
        ValueKind::I64(number) => u64::try_from(number).ok(),
        ValueKind::U64(number) => Some(number),
        ValueKind::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    number.map(Value::from).ok_or_else(|| "not a whole number".to_owned())
}

fn switch(value: Value) -> Result<Value, String> {
    match value.kind {
        ValueKind::Boolean(on) => Ok(Value::from(on)),
        ValueKind::String(text) if text == "true" => Ok(Value::from(true)),
        ValueKind::String(text) if text == "false" => Ok(Value::from(false)),
        _ => Err("neither true nor false".to_owned()),
    }
}

fn list(value: Value) -> Result<Value, String> {
    let items = match value.kind {
        ValueKind::Array(items) => items.into_iter().map(text).collect::<Result<Vec<_>, _>>()?,
        ValueKind::String(text) => split(&text).map(str::to_owned).collect(),
        _ => return Err("not a list".to_owned()),
    };
    Ok(Value::from(items))
}

fn rules(value: Value) -> Result<Value, String> {
    match value.kind {
        // An array in place of a table would be deserialized by the order of the struct's fields.
        ValueKind::Array(ref items) if !items.iter().all(|item| matches!(item.kind, ValueKind::Table(_))) => {
            Err("a rule is not a table with channel, events, age and positions".to_owned())
        }
        ValueKind::Array(_) => Ok(value),
        ValueKind::String(text) => {
            let tables = split(&text).map(rule).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::from(tables))
        }
        _ => Err("not a list of rules".to_owned()),
    }
}

/// Parses one rule as written in the environment: `room:* events=100 age=10m`.
fn rule(text: &str) -> Result<Map<String, Value>, String> {
    let mut words = text.split_whitespace();
    // `split` leaves no empty item.
    let channel = words.next().unwrap_or_default();
    let mut table = Map::from([("channel".to_owned(), Value::from(channel))]);
    for word in words {
        let (name, value) = word
            .split_once('=')
            .filter(|(name, _)| ["events", "age", "positions"].contains(name))
            .ok_or_else(|| {
                format!("{word:?} in the rule for {channel} is not one of events=, age=, positions=")
            })?;
        if table.insert(name.to_owned(), Value::from(value)).is_some() {
            return Err(format!("the rule for {channel} has {name}= twice"));
        }
    }
    Ok(table)
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Returns a value as text, with secrets masked.
pub(crate) fn show(kind: Kind, value: &Value) -> String {
    match kind {
        Kind::Secret => MASK.to_owned(),
        Kind::Url => mask_password(&plain(value)),
        _ => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match &value.kind {
        ValueKind::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        ValueKind::Table(table) => {
            let channel = table.get("channel").map(plain).unwrap_or_default();
            let rest = ["events", "age", "positions"]
                .into_iter()
                .filter_map(|name| table.get(name).map(|value| format!(" {name}={}", plain(value))));
            channel + &rest.collect::<String>()
        }
        other => other.to_string(),
    }
}

/// Masks the password of a URL: `redis://user:word@host` becomes `redis://user:********@host`.
fn mask_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // Not a URL: any part of it may be the secret.
        return MASK.to_owned();
    };
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split_once(':').map_or("", |(user, _)| user);
            format!("{scheme}://{user}:{MASK}@{host}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_text(kind: Kind, text: &str) -> Result<String, String> {
        read(kind, Value::from(text)).map(|value| show(kind, &value))
    }

    #[test]
    fn lists_and_rules_have_a_form_for_the_environment() {
        assert_eq!(from_text(Kind::List, " a, b,,c ").unwrap(), "a, b, c");
        let rules = "room:* events=100 age=10m, log:* positions=2d";
        assert_eq!(from_text(Kind::Rules, rules).unwrap(), rules);
        assert!(from_text(Kind::Rules, "room:* evens=100").unwrap_err().contains("evens=100"));
        assert!(from_text(Kind::Rules, "a age=1s age=2s").unwrap_err().contains("twice"));
    }

    #[test]
    fn nothing_is_rounded_or_guessed() {
        assert!(read(Kind::Count, Value::from(1.5)).is_err());
        assert!(read(Kind::Count, Value::from(-1)).is_err());
        assert!(from_text(Kind::Count, "yes").is_err() && from_text(Kind::Count, "").is_err());
        assert!(from_text(Kind::Switch, "1").is_err());
        assert!(from_text(Kind::Duration, "15").is_err());
        assert!(from_text(Kind::Duration, "500d").unwrap_err().contains("year"));
        assert!(from_text(Kind::Size, "64 potatoes").is_err());
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        assert_eq!(from_text(Kind::Secret, "hush").unwrap(), MASK);
        assert_eq!(
            from_text(Kind::Url, "redis://me:h@sh@h:1/2").unwrap(),
            format!("redis://me:{MASK}@h:1/2")
        );
        assert_eq!(from_text(Kind::Url, "redis://word@h:1").unwrap(), format!("redis://:{MASK}@h:1"));
        assert_eq!(from_text(Kind::Url, "redis://h:1").unwrap(), "redis://h:1");
        assert_eq!(from_text(Kind::Url, "hush").unwrap(), MASK);
    }
}
