//! Settings of metrics: `[metrics]`.

use crate::Config;
use crate::check::Checks;
use crate::setting::settings;

/// Maximum number of rules that may be labels: each adds some forty series.
const MOST: usize = 100;

settings! {
    /// `[metrics]`: what `/metrics` has.
    pub struct MetricsConfig = "metrics", |config| config.metrics => {
        /// Whether events, gaps and latencies are counted by [namespaces](operations.md#namespaces) of channels: the patterns of
        /// `retention.rules`, of which there may be 100 then.
        namespaces: bool = "false";
    }
}

/// Checks that the number of labels is bounded.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    checks.hold(
        !config.metrics.namespaces || config.retention.rules.len() <= MOST,
        &["metrics.namespaces", "retention.rules"],
        "each rule would be a label of metrics",
        "at most 100 rules with metrics.namespaces",
    );
}
