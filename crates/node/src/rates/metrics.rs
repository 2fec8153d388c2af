//! Metrics of rates. Every series exists from the start, so that a rate can be taken of each.

use fanfare_telemetry::registered;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Kind, Scope};

/// Labels: rate that was exceeded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    scope: &'static str,
    kind: &'static str,
}

/// Label: scope of rates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabel {
    scope: &'static str,
}

/// Metrics of rates. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct RateMetrics {
    /// `fanfare_rate_limited_total` by scope and kind: requests refused because a user or an address exceeded a rate.
    limited: Family<LimitLabels, Counter>,
    /// `fanfare_rate_keys` by scope: buckets in use.
    keys: Family<ScopeLabel, Gauge>,
    /// `fanfare_rate_keys_shared_total`: checks of users or addresses that share a bucket (`limits.rate_keys`).
    pub(super) keys_shared: Counter,
}

impl RateMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            limited: registered(
                registry,
                "fanfare_rate_limited",
                "Requests refused because a user or an address exceeded a rate",
            ),
            keys: registered(registry, "fanfare_rate_keys", "Rate limit buckets in use"),
            keys_shared: registered(
                registry,
                "fanfare_rate_keys_shared",
                "Rate checks of users or addresses that share a bucket",
            ),
        };
        for scope in Scope::ALL {
            let _ = metrics.keys.get_or_create(&ScopeLabel { scope: scope.as_str() });
            for kind in Kind::ALL {
                let labels = LimitLabels { scope: scope.as_str(), kind: kind.as_str() };
                let _ = metrics.limited.get_or_create(&labels);
            }
        }
        metrics
    }

    /// Counts a request that was refused because its user or address exceeded a rate.
    pub(super) fn count_limited(&self, scope: Scope, kind: Kind) {
        let labels = LimitLabels { scope: scope.as_str(), kind: kind.as_str() };
        self.limited.get_or_create(&labels).inc();
    }

    /// Sets the number of buckets in use.
    pub(super) fn show_keys(&self, scope: Scope, buckets: usize) {
        let gauge = self.keys.get_or_create(&ScopeLabel { scope: scope.as_str() });
        gauge.set(i64::try_from(buckets).unwrap_or(i64::MAX));
    }
}
