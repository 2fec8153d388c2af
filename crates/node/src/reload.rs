//! Reads files again when they change: the certificate, and the keys of tokens.

use std::fmt::Display;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Files whose content may change while the node runs.
pub trait Files: Send + 'static {
    /// The content.
    type Content;
    /// Why the content cannot be used.
    type Error: Display;

    /// Reads the files. Returns the content and a hash of the files, which detects changes. May block.
    ///
    /// # Errors
    ///
    /// Fails if the content cannot be used.
    fn read(&self) -> Result<(Self::Content, u64), Self::Error>;

    /// Replaces the content in use by a changed one.
    fn replace(&self, content: Self::Content);

    /// Keeps the content in use, because the changed one cannot be used.
    fn keep(&self, error: &str);
}

/// Reads files again when they change. Runs as one task until it is stopped.
#[derive(Debug)]
pub struct Reload<F> {
    files: F,
    every: Duration,
    /// Hash of the content in use.
    mark: u64,
    /// The error of the last check, so that a lasting error is reported once.
    last_error: Option<String>,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The files have not changed.
    Same,
    /// A new content was loaded.
    Taken,
    /// The files have a new error; the content in use stays.
    Refused,
}

impl<F: Files> Reload<F> {
    /// Creates the task for files whose content in use has the hash `mark`.
    pub fn new(files: F, mark: u64, every: Duration) -> Self {
        Self { files, every, mark, last_error: None }
    }

    /// Checks periodically until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(self.every)).await.is_some() {
            // Reading may block on a hanging disk.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            let Some(Ok(back)) = stop.run_until_cancelled(looked).await else { return };
            self = back;
        }
    }

    /// Checks once.
    pub(crate) fn look(&mut self) -> Look {
        match self.files.read() {
            Ok((content, mark)) => {
                self.last_error = None;
                if std::mem::replace(&mut self.mark, mark) == mark {
                    return Look::Same;
                }
                self.files.replace(content);
                Look::Taken
            }
            Err(error) => {
                let error = error.to_string();
                if self.last_error.as_deref() == Some(&error) {
                    return Look::Same;
                }
                self.files.keep(&error);
                self.last_error = Some(error);
                Look::Refused
            }
        }
    }
}
