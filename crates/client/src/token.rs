//! The token of requests.

use std::fs;
use std::path::PathBuf;

use crate::error::Error;

/// Source of the token. Not `Debug`, since it may contain a token.
#[derive(Clone)]
pub enum Token {
    /// The token itself.
    Text(String),
    /// File with the token, read for each request, so that a renewed token is used.
    File(PathBuf),
}

impl Token {
    /// Returns the token.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or is empty.
    pub fn read(&self) -> Result<String, Error> {
        let file = match self {
            Self::Text(token) => return Ok(token.clone()),
            Self::File(file) => file,
        };
        let text = fs::read_to_string(file)
            .map_err(|error| Error::TokenFile { file: file.display().to_string(), error })?;
        // Some editors write a byte order mark.
        let token = text.trim_start_matches('\u{feff}').trim();
        if token.is_empty() {
            return Err(Error::EmptyTokenFile { file: file.display().to_string() });
        }
        Ok(token.to_owned())
    }
}
