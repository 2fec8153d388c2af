//! Checks the certificate's files periodically, and loads a new pair when it is complete.

use std::time::Duration;

use fanfare_config::certificate::{Files, Pair};
use tokio_util::sync::CancellationToken;

use super::Tls;
use super::metrics::TlsMetrics;

/// Reloads a renewed certificate. Runs as one task until it is stopped.
#[derive(Debug)]
pub struct Renewal {
    files: Files,
    every: Duration,
    tls: Tls,
    metrics: TlsMetrics,
    /// Hash of the current pair.
    mark: u64,
    /// The error of the last check, so that a lasting error is logged once.
    last_error: Option<String>,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The files have not changed.
    Same,
    /// A new pair was loaded.
    Taken,
    /// The files have a new error; the current pair stays.
    Refused,
}

impl Renewal {
    pub(super) fn new(files: Files, pair: &Pair, every: Duration, (tls, metrics): (Tls, TlsMetrics)) -> Self {
        Self { files, every, tls, metrics, mark: pair.mark, last_error: None }
    }

    /// Checks periodically until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(self.every)).await.is_some() {
            // Reading may block on a hanging disk.
            let looked = tokio::task::spawn_blocking(move || {
                let look = self.look();
                (self, look)
            });
            let Some(Ok((back, look))) = stop.run_until_cancelled(looked).await else { return };
            self = back;
            match look {
                Look::Same => {}
                Look::Taken => {
                    self.metrics.loaded.inc();
                    tracing::info!(file = %self.files.certificate.display(), "loaded a renewed certificate");
                }
                Look::Refused => {
                    self.metrics.failures.inc();
                    let error = self.last_error.as_deref().unwrap_or_default();
                    tracing::error!(error, "failed to load the renewed certificate; keeping the old one");
                }
            }
        }
    }

    /// Checks once.
    pub(super) fn look(&mut self) -> Look {
        match self.files.read() {
            Ok(pair) => {
                self.last_error = None;
                if std::mem::replace(&mut self.mark, pair.mark) == pair.mark {
                    return Look::Same;
                }
                self.tls.show(pair.key);
                Look::Taken
            }
            Err(error) => {
                let error = error.to_string();
                if self.last_error.as_deref() == Some(&error) {
                    return Look::Same;
                }
                self.last_error = Some(error);
                Look::Refused
            }
        }
    }
}
