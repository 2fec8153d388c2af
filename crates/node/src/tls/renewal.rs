//! Looks at the certificate's files from time to time, and takes a new pair when it is whole.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Tls;
use super::pair::{Files, Pair};
use crate::http::metrics::HttpMetrics;

/// What keeps the certificate fresh. Runs as one task until it is stopped.
#[derive(Debug)]
pub struct Renewal {
    files: Files,
    every: Duration,
    tls: Tls,
    /// Of the pair in force.
    mark: u64,
    /// What was wrong when it was last looked at, so that a lasting fault is told once.
    told: Option<String>,
}

/// What a look at the files brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// They are what they were, right or wrong.
    Same,
    /// A new pair is in force.
    Taken,
    /// They are wrong in a way that was not told yet; the pair in force stays.
    Refused,
}

impl Renewal {
    pub(super) fn new(files: Files, pair: &Pair, every: Duration, tls: Tls) -> Self {
        Self { files, every, tls, mark: pair.mark, told: None }
    }

    /// Looks again and again until it is stopped.
    pub async fn run(mut self, stop: CancellationToken, metrics: HttpMetrics) {
        while stop.run_until_cancelled(tokio::time::sleep(self.every)).await.is_some() {
            // Files may be on a disk that hangs.
            let looked = tokio::task::spawn_blocking(move || {
                let look = self.look();
                (self, look)
            });
            let Some(Ok((back, look))) = stop.run_until_cancelled(looked).await else { return };
            self = back;
            match look {
                Look::Same => {}
                Look::Taken => {
                    metrics.certificates_taken.inc();
                    tracing::info!(file = %self.files.certificate.display(), "loaded a renewed certificate");
                }
                Look::Refused => {
                    metrics.certificates_refused.inc();
                    let error = self.told.as_deref().unwrap_or_default();
                    tracing::error!(error, "failed to load the renewed certificate; keeping the old one");
                }
            }
        }
    }

    /// Looks once.
    pub(super) fn look(&mut self) -> Look {
        match self.files.read() {
            Ok(pair) => {
                self.told = None;
                if std::mem::replace(&mut self.mark, pair.mark) == pair.mark {
                    return Look::Same;
                }
                self.tls.show(pair.key);
                Look::Taken
            }
            Err(error) => {
                let error = error.to_string();
                if self.told.as_deref() == Some(&error) {
                    return Look::Same;
                }
                self.told = Some(error);
                Look::Refused
            }
        }
    }
}
