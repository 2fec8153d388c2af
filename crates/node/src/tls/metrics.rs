//! Metrics of renewed certificates and authorities.

use fanfare_telemetry::registered;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Metrics of renewed certificates and authorities. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct TlsMetrics {
    /// `fanfare_tls_certificates_loaded_total`: renewed certificates, and changed authorities of clients, loaded.
    pub loaded: Counter,
    /// `fanfare_tls_certificate_failures_total`: failures to load a renewed certificate, its key, or changed authorities.
    pub failures: Counter,
}

impl TlsMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            loaded: registered(registry, "fanfare_tls_certificates_loaded", "Renewed certificates loaded"),
            failures: registered(
                registry,
                "fanfare_tls_certificate_failures",
                "Failures to load a renewed certificate",
            ),
        }
    }
}
