//! Settings of traces: `[trace]`.

use std::time::Duration;

use crate::check::Checks;
use crate::fetch_url;
use crate::secret::Url;
use crate::setting::settings;

settings! {
    /// `[trace]`: spans of events whose publisher sampled them.
    pub struct TraceConfig = "trace", |config| config.trace => {
        /// URL of an OpenTelemetry collector that accepts OTLP over HTTP, without the path `/v1/traces`, like
        /// `http://collector:4318`. Without one, no [traces](operations.md#traces) are sent.
        endpoint: Option<Url>;
        /// Maximum number of spans that wait for the collector; further ones are dropped.
        queue: usize = "2048", in "1" to "1000000";
        /// Time between two requests to the collector, at most.
        interval: Duration = "5s", in "10ms" to "1h";
        /// Timeout of a request to the collector.
        timeout: Duration = "5s", in "100ms" to "1m";
    }
}

impl TraceConfig {
    /// Checks the settings.
    pub(crate) fn check(&self, checks: &mut Checks<'_>) {
        let wrong = self.endpoint.as_ref().and_then(|url| fetch_url::wrong(url.expose(), true));
        if let Some(what) = wrong {
            checks.fail(
                &["trace.endpoint"],
                what,
                "an http or https URL without a user, like http://collector:4318",
            );
        }
    }
}
