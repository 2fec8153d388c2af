//! Parses and shows the values of settings.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::{Value as Json, json};

use crate::network::Network;

/// Maximum duration of any setting, 366 days, so that adding it to a time does not overflow.
pub const MAX_DURATION: Duration = Duration::from_hours(366 * 24);

/// A value as it was written: of any kind in a file, a text in the environment and in flags.
pub(crate) type Input = config::ValueKind;

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The setting is not set and has its default.
    Default,
    /// A file.
    File {
        /// The file's path.
        path: String,
        /// The line, from 1, if a line has the name.
        line: Option<usize>,
    },
    /// The environment variable with this name.
    Variable(String),
    /// The flag with this name.
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: None } => write!(f, "file {path}"),
            Self::File { path, line: Some(line) } => write!(f, "file {path}, line {line}"),
            Self::Variable(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The type of a setting.
pub(crate) trait Value: Sized {
    /// Parses a value.
    ///
    /// # Errors
    ///
    /// Returns why the value is invalid. The text may be shown, even if the value is secret.
    fn read(input: &Input) -> Result<Self, String>;

    /// Returns the accepted form, for error messages.
    fn right() -> String;

    /// Returns the JSON Schema of a value in a file.
    fn schema() -> Json;

    /// Returns a value as text, without secrets.
    fn show(input: &Input) -> String {
        plain(input)
    }

    /// Returns the value of a setting that is not set and has no default.
    fn unset() -> Self {
        unreachable!("a setting of this type has a default")
    }
}

impl<T: Value> Value for Option<T> {
    fn read(input: &Input) -> Result<Self, String> {
        T::read(input).map(Some)
    }

    fn right() -> String {
        T::right()
    }

    fn schema() -> Json {
        T::schema()
    }

    fn show(input: &Input) -> String {
        T::show(input)
    }

    fn unset() -> Self {
        None
    }
}

impl Value for String {
    fn read(input: &Input) -> Result<Self, String> {
        match text(input)? {
            text if text.trim().is_empty() => Err("the text is empty".to_owned()),
            text => Ok(text),
        }
    }

    fn right() -> String {
        "a text".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"\S" })
    }
}

impl Value for PathBuf {
    fn read(input: &Input) -> Result<Self, String> {
        String::read(input).map(Self::from)
    }

    fn right() -> String {
        "the path of a file".to_owned()
    }

    fn schema() -> Json {
        String::schema()
    }
}

impl Value for SocketAddr {
    fn read(input: &Input) -> Result<Self, String> {
        text(input)?.parse().map_err(|error: std::net::AddrParseError| error.to_string())
    }

    fn right() -> String {
        "an IP address and a port, like 0.0.0.0:8080 or [::]:8080".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^([0-9.]+|\[[0-9A-Fa-f:.]+(%[0-9]+)?\]):[0-9]{1,5}$" })
    }
}

impl Value for Duration {
    fn read(input: &Input) -> Result<Self, String> {
        let duration = humantime::parse_duration(&text(input)?).map_err(|error| error.to_string())?;
        if duration > MAX_DURATION { Err("longer than 366 days".to_owned()) } else { Ok(duration) }
    }

    fn right() -> String {
        "a duration with a unit, at most 366d, like 15s, 2m or 1h30m".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^(0|\s*([0-9.\s]+[A-Za-zµ]+\s*)+)$" })
    }
}

impl Value for ByteSize {
    fn read(input: &Input) -> Result<Self, String> {
        text(input)?.parse()
    }

    fn right() -> String {
        "a size with a unit, like 64KiB or 1MB".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": ["string", "integer"], "minimum": 0, "pattern": r"^[0-9]+(\.[0-9]+)?\s*([kKmMgGtTpPeE]?[iI]?[bB]?)$" })
    }
}

impl Value for usize {
    fn read(input: &Input) -> Result<Self, String> {
        count(input)
    }

    fn right() -> String {
        "a whole number, like 100".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": 0 })
    }
}

impl Value for u32 {
    fn read(input: &Input) -> Result<Self, String> {
        Self::try_from(count(input)?).map_err(|_| format!("greater than {}", Self::MAX))
    }

    fn right() -> String {
        usize::right()
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": 0, "maximum": Self::MAX })
    }
}

impl Value for bool {
    fn read(input: &Input) -> Result<Self, String> {
        match input {
            Input::Boolean(on) => Ok(*on),
            Input::String(text) if text == "true" => Ok(true),
            Input::String(text) if text == "false" => Ok(false),
            _ => Err("neither true nor false".to_owned()),
        }
    }

    fn right() -> String {
        "true or false".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl Value for Vec<String> {
    fn read(input: &Input) -> Result<Self, String> {
        match input {
            Input::Array(items) => items.iter().map(|item| text(&item.kind)).collect(),
            Input::String(text) => Ok(split(text).map(str::to_owned).collect()),
            _ => Err("not a list".to_owned()),
        }
    }

    fn right() -> String {
        "a list of texts; separated by commas in the environment".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": { "type": "string" } })
    }

    fn show(input: &Input) -> String {
        list::<Self, _>(input)
    }

    fn unset() -> Self {
        Self::new()
    }
}

impl Value for Vec<Network> {
    fn read(input: &Input) -> Result<Self, String> {
        let networks = Vec::<String>::read(input)?.into_iter().map(|text| text.parse::<Network>());
        networks.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn right() -> String {
        "a list of addresses and ranges, like 10.0.0.5 or 10.0.0.0/24; separated by commas in the environment"
            .to_owned()
    }

    fn schema() -> Json {
        Vec::<String>::schema()
    }

    fn show(input: &Input) -> String {
        list::<Self, _>(input)
    }

    fn unset() -> Self {
        Self::new()
    }
}

/// Declares a setting's type that is one of some words.
macro_rules! choice {
    (
        $(#[$attribute:meta])*
        pub enum $Choice:ident {
            $($(#[$word_attribute:meta])+ $Word:ident = $word:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Choice {
            $($(#[$word_attribute])+ $Word,)+
        }

        impl $crate::value::Value for $Choice {
            fn read(input: &$crate::value::Input) -> Result<Self, String> {
                match $crate::value::text(input).as_deref() {
                    $(Ok($word) => Ok(Self::$Word),)+
                    _ => Err("unknown value".to_owned()),
                }
            }

            fn right() -> String {
                format!("one of: {}", [$($word),+].join(", "))
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),+] })
            }
        }
    };
}

pub(crate) use choice;

/// Returns the text of a value. A number counts as text: `prefix = 7`.
pub(crate) fn text(input: &Input) -> Result<String, String> {
    match input {
        Input::String(text) => Ok(text.clone()),
        Input::I64(number) => Ok(number.to_string()),
        _ => Err("not a text".to_owned()),
    }
}

fn count(input: &Input) -> Result<usize, String> {
    let number = match input {
        Input::I64(number) => usize::try_from(*number).ok(),
        Input::String(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            return text.parse().map_err(|_| format!("greater than {}", usize::MAX));
        }
        _ => None,
    };
    number.ok_or_else(|| "not a whole number".to_owned())
}

/// Returns the items of a list in the environment.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Returns the items of a list as parsed, separated by commas. An invalid list is shown as written.
pub(crate) fn list<T: Value + IntoIterator<Item = I>, I: Display>(input: &Input) -> String {
    let Ok(items) = T::read(input) else { return plain(input) };
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns a value as text.
pub(crate) fn plain(input: &Input) -> String {
    match input {
        Input::String(text) => text.clone(),
        Input::I64(number) => number.to_string(),
        Input::I128(number) => number.to_string(),
        Input::U64(number) => number.to_string(),
        Input::U128(number) => number.to_string(),
        Input::Float(number) => number.to_string(),
        Input::Boolean(on) => on.to_string(),
        Input::Array(items) => items.iter().map(|item| plain(&item.kind)).collect::<Vec<_>>().join(", "),
        Input::Table(_) => "a table".to_owned(),
        Input::Nil => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{MASK, Secret, Url};

    fn wrong<T: Value>(input: impl Into<Input>) -> String {
        let wrong = T::read(&input.into()).err().expect("an invalid value");
        assert!(!T::right().is_empty());
        wrong
    }

    #[test]
    fn lists_have_a_form_for_the_environment() {
        assert_eq!(Vec::<String>::read(&" a, b,,c ".into()).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn lists_are_shown_as_parsed() {
        assert_eq!(Vec::<String>::show(&" a,b,, c ".into()), "a, b, c");
        assert_eq!(Vec::<Network>::show(&"10.1.2.3/8 ,::ffff:10.0.0.1,".into()), "10.0.0.0/8, 10.0.0.1");
        assert_eq!(Vec::<Network>::show(&vec!["10.1.2.3/8", "fd00::1"].into()), "10.0.0.0/8, fd00::1");
        assert_eq!(Vec::<Network>::show(&"10.0.0.1,balancer".into()), "10.0.0.1,balancer", "invalid");
    }

    #[test]
    fn nothing_is_rounded_or_guessed() {
        for number in [Input::from(1.5), Input::from(-1), "yes".into(), "".into(), "-1".into(), "1e3".into()]
        {
            assert_eq!(wrong::<usize>(number), "not a whole number");
        }
        assert!(wrong::<usize>("18446744073709551616").contains("greater than 18446744073709551615"));
        assert!(wrong::<u32>(4_294_967_296_i64).contains("greater than 4294967295"));
        assert!(wrong::<bool>("1").contains("neither"));
        for duration in ["15", "", "-1s", "s", "1 fortnight"] {
            wrong::<Duration>(duration);
        }
        assert!(wrong::<Duration>("367d").contains("366 days"));
        wrong::<Duration>("99999999999999999999y");
        wrong::<ByteSize>("64 potatoes");
        assert_eq!(wrong::<String>(" "), "the text is empty");
        assert_eq!(wrong::<PathBuf>(""), "the text is empty");
        assert_eq!(wrong::<Vec<String>>(7), "not a list");
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        assert_eq!(Secret::show(&"hush".into()), MASK);
        for (url, shown) in [
            ("redis://me:h@sh@h:1/2", "redis://me:********@h:1/2"),
            ("redis://word@h:1", "redis://:********@h:1"),
            ("redis://h:1", "redis://h:1"),
            ("hush", MASK),
        ] {
            assert_eq!(Url::show(&url.into()), shown);
            assert!(!format!("{:?}", Url::read(&url.into()).unwrap()).contains("h:1"));
        }
    }
}
