//! The prefix of a cluster's names in Redis, and why no two clusters share a name.
//!
//! Pub/Sub and function libraries know no database, so the prefix alone keeps two clusters of one Redis apart. Two
//! rules make that hold, for every pair of prefixes:
//!
//! - A name is `<prefix>:<rest>`. A longer prefix `<prefix>:<more>` can collide with the shorter one's names only where
//!   `<rest>` begins with `<more>:`. A rest begins with `{`, is a single word, or begins with one of [`TAKEN`] and a colon,
//!   so none of these words may stand behind a colon of a prefix.
//! - A library's name has letters, digits and `_` only. Each separator has its own number of them, and stands between
//!   letters or digits, so that the prefix can be read back from it.
//! - Names of functions ignore case, and all functions of a Redis share one namespace. So a prefix has no upper-case letter.

use std::fmt;
use std::sync::Arc;

/// The longest prefix, in bytes.
const MAX_BYTES: usize = 64;

/// The first words of names that have more than one.
pub(super) const TAKEN: [&str; 4] = ["ingest", "node", "presence", "probe"];

/// What stands between the words of a prefix, and how many `_` stand for it in the name of the library.
const SEPARATORS: [(char, usize); 4] = [(':', 1), ('_', 2), ('-', 3), ('.', 4)];

/// A prefix that no other one can be confused with. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Prefix(Arc<str>);

/// A text that cannot begin the names of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It is empty or too long.
    #[error("invalid key prefix: {0} bytes; 1 to {MAX_BYTES} are allowed")]
    Length(usize),
    /// It is not made of words and separators.
    #[error(
        "invalid key prefix at byte {0}: words of lower-case ASCII letters and digits must be separated by a single ':', '_', '-' or '.'"
    )]
    Form(usize),
    /// It has an upper-case letter: at a byte, and which.
    #[error(
        "invalid key prefix at byte {0}: {1:?} is upper case, but names of Redis functions ignore case, so only lower case is allowed"
    )]
    Case(usize, char),
    /// It could be taken for the names of a shorter prefix.
    #[error(
        "invalid key prefix: with '{1}' after a ':' its keys would collide with those of the prefix {0:?}"
    )]
    Taken(String, &'static str),
}

impl Prefix {
    /// Checks a prefix.
    ///
    /// # Errors
    ///
    /// Fails if another prefix could have the same names.
    pub fn new(text: &str) -> Result<Self, PrefixError> {
        if !(1..=MAX_BYTES).contains(&text.len()) {
            return Err(PrefixError::Length(text.len()));
        }
        let mut open = true;
        for (at, c) in text.char_indices() {
            if c.is_ascii_uppercase() {
                return Err(PrefixError::Case(at, c));
            }
            let is_word = c.is_ascii_alphanumeric();
            if !is_word && (open || SEPARATORS.iter().all(|(separator, _)| *separator != c)) {
                return Err(PrefixError::Form(at));
            }
            open = !is_word;
        }
        if open {
            return Err(PrefixError::Form(text.len() - 1));
        }
        let mut from = 0;
        while let Some(colon) = text[from..].find(':').map(|at| from + at) {
            from = colon + 1;
            let part = text[from..].split(':').next().unwrap_or_default();
            if let Some(taken) = TAKEN.iter().find(|taken| **taken == part) {
                return Err(PrefixError::Taken(text[..colon].to_owned(), taken));
            }
        }
        Ok(Self(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the function library; the function is named `<library>_publish`.
    pub fn library(&self) -> String {
        let mut name = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            match SEPARATORS.iter().find(|(separator, _)| *separator == c) {
                Some((_, count)) => name.extend(std::iter::repeat_n('_', *count)),
                None => name.push(c),
            }
        }
        name
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_single_separators_between_them_are_prefixes() {
        for good in
            ["fanfare", "app:x", "app_x", "my-app.2", "a1", "node", "prod:nodes", "node:a", &"x".repeat(64)]
        {
            assert_eq!(Prefix::new(good).unwrap().as_str(), good);
        }
        for (bad, at) in
            [(":a", 0), ("a:", 1), ("a::b", 2), ("a_-b", 2), ("_", 0), ("a b", 1), ("a{b}", 1), ("a*", 1)]
        {
            assert_eq!(Prefix::new(bad), Err(PrefixError::Form(at)), "{bad}");
        }
        for (bad, at, c) in [("App", 0, 'A'), ("app:X", 4, 'X'), ("a-1B", 3, 'B')] {
            assert_eq!(Prefix::new(bad), Err(PrefixError::Case(at, c)));
        }
        assert_eq!(Prefix::new("é"), Err(PrefixError::Form(0)));
        assert_eq!(Prefix::new(""), Err(PrefixError::Length(0)));
        assert_eq!(Prefix::new(&"x".repeat(65)), Err(PrefixError::Length(65)));
    }

    #[test]
    fn a_prefix_that_reads_like_another_ones_names_is_refused() {
        for (bad, shorter, word) in
            [("a:node", "a", "node"), ("a:b:ingest", "a:b", "ingest"), ("a:probe:c", "a", "probe")]
        {
            assert_eq!(Prefix::new(bad), Err(PrefixError::Taken(shorter.into(), word)));
        }
        let text = Prefix::new("a:node").unwrap_err().to_string();
        assert!(text.contains("'node'") && text.contains("\"a\""), "{text}");
    }

    #[test]
    fn each_prefix_has_a_library_of_its_own() {
        for (prefix, library) in [
            ("fanfare", "fanfare"),
            ("app:x", "app_x"),
            ("app_x", "app__x"),
            ("app-x", "app___x"),
            ("app.x", "app____x"),
        ] {
            assert_eq!(Prefix::new(prefix).unwrap().library(), library);
        }
    }
}
