//! Metrics of requests to the application. Names and meanings are public: `docs/operations.md` lists them.

use fanfare_telemetry::registered;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Outcome;

/// All outcomes, which are shown from the start.
const OUTCOMES: [&str; 5] = ["allowed", "unknown", "forbidden", "failed", "busy"];

type Labels = [(&'static str, &'static str); 1];

/// Metrics of these requests. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct CallbackMetrics {
    /// `fanfare_auth_callback_requests_total`: requests to the application, by outcome.
    requests: Family<Labels, Counter>,
    /// `fanfare_auth_callback_shared_total`: requests of clients that an earlier or concurrent answer served.
    pub(super) shared: Counter,
}

impl CallbackMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: registered(registry, "fanfare_auth_callback_requests", "Requests to the application"),
            shared: registered(
                registry,
                "fanfare_auth_callback_shared",
                "Requests of clients that an earlier or concurrent answer of the application served",
            ),
        };
        for outcome in OUTCOMES {
            drop(metrics.requests.get_or_create(&[("outcome", outcome)]));
        }
        metrics
    }

    pub(super) fn count(&self, outcome: &'static str) {
        self.requests.get_or_create(&[("outcome", outcome)]).inc();
    }
}

impl From<&Outcome> for &'static str {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Allowed(_) => "allowed",
            Outcome::Unknown => "unknown",
            Outcome::Forbidden => "forbidden",
            Outcome::Failed => "failed",
        }
    }
}
