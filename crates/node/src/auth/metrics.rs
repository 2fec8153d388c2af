//! Metrics of the keys that verify tokens.

use fanfare_auth::remote_keys::metrics::FetchMetrics;
use fanfare_telemetry::registered;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Metrics of the keys that verify tokens. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct KeyMetrics {
    /// `fanfare_auth_key_files_loaded_total`: changed key files loaded.
    pub loaded: Counter,
    /// `fanfare_auth_key_file_failures_total`: failures to load a changed key file.
    pub failures: Counter,
    /// Metrics of fetched keys.
    pub fetches: FetchMetrics,
}

impl KeyMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            loaded: registered(registry, "fanfare_auth_key_files_loaded", "Changed key files loaded"),
            failures: registered(
                registry,
                "fanfare_auth_key_file_failures",
                "Failures to load a changed key file",
            ),
            fetches: FetchMetrics::register(registry),
        }
    }
}
