//! Metrics of fetched JWK sets. Names and meanings are public: `docs/operations.md` lists them.

use std::sync::atomic::AtomicU64;

use fanfare_telemetry::registered;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = [(&'static str, String); 1];
type OutcomeLabels = [(&'static str, String); 2];

/// Metrics of fetched JWK sets, by issuer. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct FetchMetrics {
    /// `fanfare_auth_jwks_fetches_total`: fetches, by outcome.
    fetches: Family<OutcomeLabels, Counter>,
    /// `fanfare_auth_jwks_keys`: keys in use.
    keys: Family<Labels, Gauge>,
    /// `fanfare_auth_jwks_fetched_timestamp_seconds`: Unix time of the last fetch that succeeded.
    fetched: Family<Labels, Gauge<f64, AtomicU64>>,
}

impl FetchMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            fetches: registered(registry, "fanfare_auth_jwks_fetches", "Fetches of JWK sets"),
            keys: registered(registry, "fanfare_auth_jwks_keys", "Keys in use of a fetched JWK set"),
            fetched: registered(
                registry,
                "fanfare_auth_jwks_fetched_timestamp_seconds",
                "Unix time of the last successful fetch of a JWK set",
            ),
        }
    }

    /// Counts a fetch that succeeded at a Unix time.
    pub(crate) fn fetched(&self, issuer: &str, keys: usize, at: f64) {
        self.fetches.get_or_create(&outcome(issuer, "ok")).inc();
        self.keys.get_or_create(&label(issuer)).set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.fetched.get_or_create(&label(issuer)).set(at);
    }

    /// Counts a fetch that failed.
    pub(crate) fn failed(&self, issuer: &str) {
        self.fetches.get_or_create(&outcome(issuer, "failed")).inc();
    }
}

fn label(issuer: &str) -> Labels {
    [("issuer", issuer.to_owned())]
}

fn outcome(issuer: &str, outcome: &str) -> OutcomeLabels {
    [("issuer", issuer.to_owned()), ("outcome", outcome.to_owned())]
}
