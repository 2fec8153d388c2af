//! The task that fetches the keys of a URL.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_telemetry::Throttle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::FetchMetrics;
use super::source::{Fetched, Source, SourceError};
use super::{RemoteKeys, RemoteSettings};

/// Maximum time between fetches after failures.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Fetches the keys of a URL: at the start, periodically, and when a request has an unknown key. Runs as one task until it
/// is stopped.
#[derive(Debug)]
pub struct Refresh {
    keys: Arc<RemoteKeys>,
    source: Source,
    settings: RemoteSettings,
    /// The place of the issuer's settings, for the log and the metrics.
    issuer: String,
    /// Number of failures since the last success.
    failures: u32,
    log: Throttle,
}

impl Refresh {
    pub(crate) fn new(
        keys: Arc<RemoteKeys>,
        settings: RemoteSettings,
        issuer: String,
    ) -> Result<Self, SourceError> {
        let source = Source::new(&settings)?;
        Ok(Self { keys, source, settings, issuer, failures: 0, log: Throttle::of_a_condition() })
    }

    /// Fetches until it is stopped.
    pub async fn run(mut self, metrics: FetchMetrics, stop: CancellationToken) {
        loop {
            let begun = Instant::now();
            let Some(next) = stop.run_until_cancelled(self.fetch(&metrics)).await else { return };
            if stop.run_until_cancelled(self.wait(begun, next)).await.is_none() {
                return;
            }
        }
    }

    /// Waits until the next fetch is due, or until a request wants keys and a fetch may begin.
    async fn wait(&self, begun: Instant, next: Duration) {
        // Both branches are cancel-safe: `notified` keeps its permit if it is dropped before it is ready.
        tokio::select! {
            () = tokio::time::sleep_until(begun + next) => {}
            () = self.keys.wanted() => tokio::time::sleep_until(begun + self.settings.min_interval).await,
        }
    }

    /// Fetches once. Returns the time from its begin until the next fetch is due.
    async fn fetch(&mut self, metrics: &FetchMetrics) -> Duration {
        let RemoteSettings { refresh, min_interval, .. } = self.settings;
        let number = self.keys.begin();
        match self.source.fetch().await {
            Ok(Fetched { keys, max_age }) => {
                let count = keys.len();
                self.keys.end(number, Some(keys));
                if std::mem::take(&mut self.failures) > 0 || number == 1 {
                    tracing::info!(issuer = self.issuer, keys = count, "fetched the JWK set");
                }
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                metrics.fetched(&self.issuer, count, now.as_secs_f64());
                max_age.unwrap_or(refresh).min(refresh).max(min_interval)
            }
            Err(error) => {
                self.keys.end(number, None);
                self.failures = self.failures.saturating_add(1);
                metrics.failed(&self.issuer);
                if let Some(held_back) = self.log.admit() {
                    let (issuer, kept) = (&self.issuer, self.keys.keys().len());
                    tracing::warn!(issuer, %error, kept, held_back, "failed to fetch the JWK set; keeping the old keys");
                }
                backoff(min_interval, self.failures).min(refresh)
            }
        }
    }
}

/// Returns the time until the next attempt: twice as long after each failure, with up to a tenth more, so that nodes do not
/// fetch at the same moment.
fn backoff(first: Duration, failures: u32) -> Duration {
    let time = first.saturating_mul(1 << (failures.max(1) - 1).min(16)).min(MAX_BACKOFF).max(first);
    time.mul_f64(1.0 + fastrand::f64() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_up_to_a_limit() {
        let seconds = |failures| backoff(Duration::from_secs(5), failures).as_secs_f64();
        for (failures, least) in [(1, 5.0), (2, 10.0), (3, 20.0), (4, 30.0), (u32::MAX, 30.0)] {
            assert!((least..least * 1.1001).contains(&seconds(failures)), "{failures}");
        }
        assert!(backoff(Duration::from_hours(1), 3) >= Duration::from_hours(1));
    }
}
