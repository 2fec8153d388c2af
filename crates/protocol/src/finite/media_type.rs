//! The media type of a stream's bytes.

use std::fmt;

/// Maximum length of a media type with its parameters, in bytes.
const MAX_BYTES: usize = 255;

/// A media type, as it was given when the stream was created. Two are equal if their types are, whatever their parameters.
#[derive(Clone, Debug)]
pub struct MediaType {
    given: String,
    /// Type and subtype, in lower case.
    essence: String,
}

/// What a stream's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Messages of JSON: `application/json`.
    Json,
    /// Text: `text/*`.
    Text,
    /// Bytes.
    Bytes,
}

/// A text that is not a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Content-Type must be a media type of 1 to {MAX_BYTES} visible ASCII characters, like text/plain")]
pub struct MediaTypeError;

impl MediaType {
    /// The media type of a stream that is created without one.
    pub fn bytes() -> Self {
        let text = "application/octet-stream";
        Self { given: text.to_owned(), essence: text.to_owned() }
    }

    /// Checks a media type (RFC 9110, section 8.3.1).
    ///
    /// # Errors
    ///
    /// Fails if the text has no type, is too long, or has characters other than visible ASCII and spaces.
    pub fn new(text: &str) -> Result<Self, MediaTypeError> {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if essence.is_empty() || essence.contains(' ') || text.len() > MAX_BYTES || !is_visible {
            return Err(MediaTypeError);
        }
        Ok(Self { given: text.to_owned(), essence })
    }

    /// Returns the text as it was given.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// Returns type and subtype, in lower case.
    pub fn essence(&self) -> &str {
        &self.essence
    }

    /// Returns what the bytes are.
    pub fn form(&self) -> Form {
        match self.essence.as_str() {
            "application/json" => Form::Json,
            essence if essence.starts_with("text/") => Form::Text,
            _ => Form::Bytes,
        }
    }
}

impl PartialEq for MediaType {
    fn eq(&self, other: &Self) -> bool {
        self.essence == other.essence
    }
}

impl Eq for MediaType {}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_type_counts() {
        let one = MediaType::new("Text/Plain; charset=utf-8").unwrap();
        assert_eq!(one, MediaType::new("text/plain").unwrap());
        assert_eq!(
            (one.as_str(), one.essence(), one.form()),
            ("Text/Plain; charset=utf-8", "text/plain", Form::Text)
        );
        assert_eq!(MediaType::new("application/json;x=1").unwrap().form(), Form::Json);
        assert_eq!(MediaType::bytes().form(), Form::Bytes);
        for bad in
            ["", ";", " ; charset=utf-8", "text plain", "text/\u{e4}", "text/\tplain", &"x".repeat(256)]
        {
            assert!(MediaType::new(bad).is_err(), "{bad:?}");
        }
    }
}
