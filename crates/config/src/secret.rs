//! Secret values, which are never shown.

use std::collections::HashSet;
use std::fmt;

use crate::value::{Input, Value, plain, text};

/// Text shown in place of a secret.
pub const MASK: &str = "********";
/// Minimum length of an HS256 secret, in bytes: as long as the hash (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Minimum number of different bytes in a secret. A random secret has more: of secrets of 32 decimal digits, one in
/// ten million has fewer.
const MIN_SECRET_KINDS: usize = 6;
/// Secrets that are long enough, but published as examples.
const PUBLISHED_SECRETS: [&str; 2] = [
    // jwt.io
    "a-string-secret-at-least-256-bits-long",
    "a-string-secret-at-least-512-bits-long-when-using-HS512",
];

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

    /// Returns why the secret of tokens is easy to guess, or `None` if it passes. A random secret passes.
    pub(crate) fn weakness(&self) -> Option<String> {
        let bytes = self.0.as_bytes();
        let unit = (1..=bytes.len() / 2).find(|&unit| bytes.chunks(unit).all(|part| bytes.starts_with(part)));
        let kinds = bytes.iter().collect::<HashSet<_>>().len();
        let words = match unit {
            _ if bytes.len() < MIN_SECRET_BYTES => format!("has {} bytes", bytes.len()),
            Some(unit) if unit < MIN_SECRET_BYTES / 2 => format!("repeats the same {unit} bytes"),
            _ if kinds < MIN_SECRET_KINDS => format!("has only {kinds} different bytes"),
            _ if PUBLISHED_SECRETS.contains(&self.0.as_str()) => "is a published example".to_owned(),
            _ => return None,
        };
        Some(format!("the secret {words} and is easy to guess"))
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
