//! One setting, and the macro that declares the settings of a topic.
//!
//! The macro `settings!` makes the struct of a topic, its `Default` and its table of [`Setting`]s from one declaration. Errors,
//! `fanfare config`, its example and its schema, and `docs/configuration.md` use the tables.

use serde_json::{Value as Json, json};

use crate::Config;
use crate::value::{Input, Value, split};

/// Prefix of the environment variables.
pub const VARIABLE_PREFIX: &str = "FANFARE_";

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name, as `group.name`.
    pub name: &'static str,
    /// Default, as written in the environment; empty if there is none.
    pub default: &'static str,
    /// The declaration's comment, with the space that each line begins with.
    pub(crate) comment: &'static str,
    /// Least and greatest value, as written in the environment.
    pub range: Option<(&'static str, &'static str)>,
    /// Returns the accepted form.
    pub(crate) right: fn() -> String,
    /// Returns the JSON Schema of a value in a file.
    pub(crate) schema: fn() -> Json,
    /// Returns a value as text, with secrets masked.
    pub(crate) show: fn(&Input) -> String,
    /// Parses a value and sets it.
    pub(crate) read: fn(&mut Config, &Input) -> Result<(), String>,
    /// Returns whether the value is within the range.
    pub(crate) is_within: fn(&Config) -> bool,
}

impl Setting {
    /// Returns the setting with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        crate::settings().find(|setting| setting.name == name)
    }

    /// Returns the name of the environment variable.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "__").to_uppercase())
    }

    /// Returns the names of the group and of the setting in it.
    pub fn place(&self) -> (&'static str, &'static str) {
        // A declaration puts a group in front of each name.
        self.name.rsplit_once('.').expect("a setting has a group")
    }

    /// Returns the default in the form that a file has; `None` without a default.
    pub(crate) fn default_in_file(&self) -> Option<Json> {
        let kinds = (self.schema)()["type"].to_string();
        let number = self.default.parse::<u64>().ok().filter(|_| kinds.contains("integer"));
        match self.default {
            "" => None,
            text if kinds.contains("array") => Some(split(text).collect()),
            text if kinds.contains("boolean") => Some(json!(text == "true")),
            text => Some(number.map_or_else(|| json!(text), |number| json!(number))),
        }
    }

    /// Returns the range as a sentence after a space; empty without a range.
    pub fn limits(&self) -> String {
        self.range.map(|(least, most)| format!(" From `{least}` to `{most}`.")).unwrap_or_default()
    }

    /// Returns the description.
    pub fn meaning(&self) -> &'static str {
        self.comment.trim_ascii_start()
    }
}

/// Returns the value that a declaration gives as text.
pub(crate) fn declared<T: Value>(text: &str) -> T {
    if text.is_empty() {
        return T::unset();
    }
    match T::read(&Input::from(text)) {
        Ok(value) => value,
        // A test reads every declaration.
        Err(wrong) => panic!("{text:?} is declared for a setting, but is invalid: {wrong}"),
    }
}

/// Returns whether a value is in a declared range.
pub(crate) fn within<T: Value + PartialOrd>(value: &T, least: &str, most: &str) -> bool {
    (declared(least)..=declared(most)).contains(value)
}

/// Declares the settings of a topic: the struct, its defaults, and the table `SETTINGS`.
///
/// ```text
/// settings! {
///     /// `[group]`: what the struct is.
///     pub struct GroupConfig = "group", |config| config.group {
///         /// Description, as in docs/configuration.md.
///         name: Type = "default", in "least" to "greatest";
///     }
///     with {
///         /// A field that is not a setting.
///         other: Type = value;
///     }
/// }
/// ```
///
/// A setting without a default is unset: `None`, an empty list, or what its type chooses. Values are written as in the
/// environment.
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        pub struct $Config:ident = $group:literal, |$config:ident| $place:expr => {
            $(
                $(#[doc = $comment:literal])+
                $name:ident: $Type:ty $(= $default:literal)? $(, in $least:literal to $most:literal)?;
            )+
        }
        $(with {
            $(
                $(#[$other_attribute:meta])+
                $other:ident: $Other:ty = $value:expr;
            )+
        })?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $Config {
            $(
                $(#[doc = $comment])+
                #[doc = concat!("\n\n`", $group, ".", stringify!($name), "`" $(, ", default `", $default, "`")? $(, ", ", $least, " to ", $most)?, ".")]
                pub $name: $Type,
            )+
            $($(
                $(#[$other_attribute])+
                pub $other: $Other,
            )+)?
        }

        impl Default for $Config {
            fn default() -> Self {
                Self {
                    $($name: $crate::setting::declared(concat!($($default)?)),)+
                    $($($other: $value,)+)?
                }
            }
        }

        impl $Config {
            /// The settings of this topic.
            pub(crate) const SETTINGS: &'static [$crate::setting::Setting] = &[$(
                $crate::setting::Setting {
                    name: concat!($group, ".", stringify!($name)),
                    default: concat!($($default)?),
                    comment: concat!($($comment),+),
                    range: $crate::setting::settings!(@range $($least, $most)?),
                    right: <$Type as $crate::value::Value>::right,
                    schema: <$Type as $crate::value::Value>::schema,
                    show: <$Type as $crate::value::Value>::show,
                    read: |$config, input| {
                        $place.$name = $crate::value::Value::read(input)?;
                        Ok(())
                    },
                    is_within: $crate::setting::settings!(@within |$config| $place.$name, $($least, $most)?),
                },
            )+];
        }
    };
    (@range) => { None };
    (@range $least:literal, $most:literal) => { Some(($least, $most)) };
    (@within |$config:ident| $value:expr,) => { |_| true };
    (@within |$config:ident| $value:expr, $least:literal, $most:literal) => {
        |$config| $crate::setting::within(&$value, $least, $most)
    };
}

pub(crate) use settings;
