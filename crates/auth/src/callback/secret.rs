//! The secret by which the application knows the node. Its file may change while the node runs.

use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use reqwest::header::HeaderValue;

use crate::key_file::{KeyFileError, KeyFileFault};
use crate::secret;

/// The secret, and its file if it is in one. Lives as long as the node.
#[derive(Debug)]
pub struct CallbackSecret {
    /// A sensitive value, which `Debug` does not show.
    value: RwLock<Option<HeaderValue>>,
    file: Option<(PathBuf, u64)>,
}

impl CallbackSecret {
    /// Creates the secret of a file, or else of a value.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be used.
    pub(super) fn new(value: Option<HeaderValue>, file: Option<PathBuf>) -> Result<Self, KeyFileError> {
        let Some(file) = file else { return Ok(Self { value: RwLock::new(value), file: None }) };
        let (value, mark) = read(&file)?;
        Ok(Self { value: RwLock::new(Some(value)), file: Some((file, mark)) })
    }

    /// Returns the file, and the hash of what it had at the start.
    pub fn file(&self) -> Option<(&Path, u64)> {
        self.file.as_ref().map(|(file, mark)| (file.as_path(), *mark))
    }

    /// Replaces the secret. Requests under way have the old one.
    pub fn replace(&self, value: HeaderValue) {
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    pub(super) fn get(&self) -> Option<HeaderValue> {
        self.value.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads the file of a secret. Returns the value of its header, and a hash of it, to detect changes.
///
/// # Errors
///
/// Fails if the file cannot be read, or if the secret is easy to guess or does not fit in a header.
pub fn read(file: &Path) -> Result<(HeaderValue, u64), KeyFileError> {
    let fail = |fault| KeyFileError { path: file.to_owned(), fault };
    let text = secret::read(file).map_err(|error| fail(error.into()))?;
    let value = header_value(&text).map_err(|wrong| fail(KeyFileFault::Weak(wrong)))?;
    Ok((value, foldhash::quality::FixedState::default().hash_one(&text)))
}

/// Returns a secret as the value of a header, which is not shown.
///
/// # Errors
///
/// Fails with the reason if the secret is easy to guess, or does not fit in a header.
pub fn header_value(text: &str) -> Result<HeaderValue, String> {
    if let Some(weakness) = secret::weakness(text) {
        return Err(weakness);
    }
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| "the secret does not fit in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
