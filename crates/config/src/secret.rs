//! Secret values, which are never shown.

use std::fmt;

use serde_json::Value as Json;

use crate::value::{Input, Value, plain, text};

/// Text shown in place of a secret.
pub const MASK: &str = "********";
/// A secret setting. `Debug` shows [`MASK`]; only [`Secret::expose`] returns the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A URL that may contain a password. `Debug` shows [`MASK`]; only [`Url::expose`] returns the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Secret {
    /// Creates a secret from a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Url {
    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Value for Secret {
    fn read(input: &Input) -> Result<Self, String> {
        text(input).map(Self)
    }

    fn right() -> String {
        "a text".to_owned()
    }

    fn schema() -> Json {
        String::schema()
    }

    fn show(_: &Input) -> String {
        MASK.to_owned()
    }
}

impl Value for Url {
    fn read(input: &Input) -> Result<Self, String> {
        text(input).map(Self)
    }

    fn right() -> String {
        "a URL like redis://127.0.0.1:6379".to_owned()
    }

    fn schema() -> Json {
        String::schema()
    }

    /// Masks the password: `redis://user:word@host` becomes `redis://user:********@host`, and `unix:///path?pass=word`
    /// becomes `unix:///path?pass=********`.
    fn show(input: &Input) -> String {
        let url = plain(input);
        let url = match url.split_once('?') {
            Some((address, query)) => {
                let mask = |parameter: &str| match parameter.split_once('=') {
                    Some((name, _)) if name.eq_ignore_ascii_case("pass") => format!("{name}={MASK}"),
                    _ => parameter.to_owned(),
                };
                format!("{address}?{}", query.split('&').map(mask).collect::<Vec<_>>().join("&"))
            }
            None => url,
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            // Not a URL: any part of it may be the secret.
            return MASK.to_owned();
        };
        match rest.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split_once(':').map_or("", |(user, _)| user);
                format!("{scheme}://{user}:{MASK}@{host}")
            }
            None => url,
        }
    }
}
