//! Metrics of revocations.

use fanfare_telemetry::registered;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of revocations. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct RevocationMetrics {
    /// `fanfare_auth_revocations`: revocations that the node knows.
    pub(crate) known: Gauge,
    /// `fanfare_auth_revocation_read_failures_total`: failures to read the log of revocations.
    pub(crate) read_failures: Counter,
    /// `fanfare_auth_revocations_restored_total`: revocations that the log had lost and got back from this node.
    pub(crate) restored: Counter,
    /// `fanfare_auth_revocations_malformed_total`: entries of the log that no node wrote.
    pub(crate) malformed: Counter,
}

impl RevocationMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            known: registered(
                registry,
                "fanfare_auth_revocations",
                "Revocations of tokens that the node knows",
            ),
            read_failures: registered(
                registry,
                "fanfare_auth_revocation_read_failures",
                "Failures to read the log of revocations",
            ),
            restored: registered(
                registry,
                "fanfare_auth_revocations_restored",
                "Revocations that the log had lost and got back from this node",
            ),
            malformed: registered(
                registry,
                "fanfare_auth_revocations_malformed",
                "Entries of the log of revocations that no node wrote",
            ),
        }
    }
}
