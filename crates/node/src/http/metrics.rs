//! Metrics of HTTP. Every series exists from the start, so that rates can be computed.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::overload::Reason;
use crate::rates::{Kind, Scope};

/// Labels of a completed request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// Pattern of the route; `none` for a path without a route.
    pub route: String,
    /// Method; `other` for a method without a route.
    pub method: &'static str,
    /// Status.
    pub status: u16,
}

/// Label: code of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    code: &'static str,
}

/// Label: result of publishing an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    result: &'static str,
}

/// Label: limit by which a socket was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

/// Label: reason why a stream was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    reason: &'static str,
}

/// Labels: rate that was exceeded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabels {
    scope: &'static str,
    kind: &'static str,
}

/// Label: scope of rates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScopeLabel {
    scope: &'static str,
}

/// Metrics of HTTP. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    /// `fanfare_http_requests_total` by route, method and status.
    pub requests: Family<RequestLabels, Counter>,
    /// `fanfare_http_problems_total` by code: requests that were refused.
    problems: Family<CodeLabel, Counter>,
    /// `fanfare_publishes_total` by result: `stored`, `repeat`, `sent` (ephemeral), or a problem's code.
    publishes: Family<ResultLabel, Counter>,
    /// `fanfare_streams_refused_total` by reason: streams refused.
    overloaded: Family<ReasonLabel, Counter>,
    /// `fanfare_rate_limited_total` by scope and kind: requests refused because a user or an address exceeded a rate.
    rate_limited: Family<LimitLabels, Counter>,
    /// `fanfare_rate_keys` by scope: buckets in use.
    rate_keys: Family<ScopeLabel, Gauge>,
    /// `fanfare_rate_keys_shared_total`: checks of users or addresses that share a bucket (`limits.rate_keys`).
    pub rate_keys_shared: Counter,
    /// `fanfare_proxy_headers_refused_total`: connections refused because they had no PROXY protocol header from a
    /// trusted proxy.
    pub proxy_headers_refused: Counter,
    /// `fanfare_ignored_parameters_total`: unknown parameters of stream requests.
    pub ignored_parameters: Counter,
    /// `fanfare_accept_errors_total`: failures to accept a socket.
    pub accept_errors: Counter,
    /// `fanfare_sockets_evicted_total`: idle sockets closed for new ones.
    pub sockets_evicted: Counter,
    /// `fanfare_sockets_refused_total` by limit: sockets refused.
    pub sockets_refused_address: Counter,
    /// The same for the node's limit.
    pub sockets_refused_node: Counter,
    /// `fanfare_http2_floods_total`: HTTP/2 connections closed because of too many control frames.
    pub floods: Counter,
    /// `fanfare_http_connections_total`: sockets accepted.
    pub accepted: Counter,
    /// `fanfare_http_connection_errors_total`: connections closed by an error: bad heads, timeouts, resets.
    pub connection_errors: Counter,
    /// `fanfare_tls_handshake_errors_total`: failed TLS handshakes.
    pub handshake_errors: Counter,
    /// `fanfare_tls_certificates_loaded_total`: renewed certificates loaded.
    pub certificates_taken: Counter,
    /// `fanfare_tls_certificate_failures_total`: failures to load a renewed certificate or its key.
    pub certificates_refused: Counter,
    /// `fanfare_http_connections_cut_total`: connections closed at the shutdown deadline.
    pub cut: Counter,
}

impl HttpMetrics {
    /// Creates and registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let mut metrics = Self::default();
        for reason in Reason::WORDS {
            let _ = metrics.overloaded.get_or_create(&ReasonLabel { reason });
        }
        for result in ["stored", "repeat", "sent"] {
            let _ = metrics.publishes.get_or_create(&ResultLabel { result });
        }
        for scope in Scope::ALL {
            let _ = metrics.rate_keys.get_or_create(&ScopeLabel { scope: scope.as_str() });
            for kind in Kind::ALL {
                let labels = LimitLabels { scope: scope.as_str(), kind: kind.as_str() };
                let _ = metrics.rate_limited.get_or_create(&labels);
            }
        }
        metrics.register_rates(registry);
        registry.register("fanfare_http_requests", "Requests completed", metrics.requests.clone());
        registry.register("fanfare_http_problems", "Requests refused, by code", metrics.problems.clone());
        registry.register(
            "fanfare_publishes",
            "Events published over HTTP, by result",
            metrics.publishes.clone(),
        );
        registry.register(
            "fanfare_streams_refused",
            "Streams refused, by reason",
            metrics.overloaded.clone(),
        );
        registry.register(
            "fanfare_ignored_parameters",
            "Unknown parameters of stream requests",
            metrics.ignored_parameters.clone(),
        );
        registry.register(
            "fanfare_accept_errors",
            "Failures to accept a socket",
            metrics.accept_errors.clone(),
        );
        registry.register(
            "fanfare_sockets_evicted",
            "Idle sockets closed for new ones",
            metrics.sockets_evicted.clone(),
        );
        let refused: Family<LimitLabel, Counter> = Family::default();
        metrics.sockets_refused_address = refused.get_or_create_owned(&LimitLabel { limit: "address" });
        metrics.sockets_refused_node = refused.get_or_create_owned(&LimitLabel { limit: "node" });
        registry.register("fanfare_sockets_refused", "Sockets refused, by limit", refused);
        registry.register(
            "fanfare_http2_floods",
            "HTTP/2 connections closed because of too many control frames",
            metrics.floods.clone(),
        );
        registry.register("fanfare_http_connections", "Sockets accepted", metrics.accepted.clone());
        registry.register(
            "fanfare_http_connection_errors",
            "Connections closed by an error",
            metrics.connection_errors.clone(),
        );
        registry.register(
            "fanfare_tls_handshake_errors",
            "Failed TLS handshakes",
            metrics.handshake_errors.clone(),
        );
        registry.register(
            "fanfare_tls_certificates_loaded",
            "Renewed certificates loaded",
            metrics.certificates_taken.clone(),
        );
        registry.register(
            "fanfare_tls_certificate_failures",
            "Failures to load a renewed certificate",
            metrics.certificates_refused.clone(),
        );
        registry.register(
            "fanfare_http_connections_cut",
            "Connections closed at the shutdown deadline",
            metrics.cut.clone(),
        );
        metrics
    }

    fn register_rates(&self, registry: &mut Registry) {
        registry.register(
            "fanfare_rate_limited",
            "Requests refused because a user or an address exceeded a rate",
            self.rate_limited.clone(),
        );
        registry.register("fanfare_rate_keys", "Rate limit buckets in use", self.rate_keys.clone());
        registry.register(
            "fanfare_rate_keys_shared",
            "Rate checks of users or addresses that share a bucket",
            self.rate_keys_shared.clone(),
        );
        registry.register(
            "fanfare_proxy_headers_refused",
            "Connections refused: no PROXY protocol header from a trusted proxy",
            self.proxy_headers_refused.clone(),
        );
    }

    /// Counts a request that was refused because its user or address exceeded a rate.
    pub fn count_limited(&self, scope: Scope, kind: Kind) {
        let labels = LimitLabels { scope: scope.as_str(), kind: kind.as_str() };
        self.rate_limited.get_or_create(&labels).inc();
    }

    /// Sets the number of buckets in use.
    pub fn show_rate_keys(&self, scope: Scope, buckets: usize) {
        let gauge = self.rate_keys.get_or_create(&ScopeLabel { scope: scope.as_str() });
        gauge.set(i64::try_from(buckets).unwrap_or(i64::MAX));
    }

    /// Counts a request that was refused.
    pub fn count_problem(&self, code: &'static str) {
        self.problems.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts the result of publishing an event.
    pub fn count_publish(&self, result: &'static str) {
        self.publishes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a refused stream.
    pub fn count_overloaded(&self, reason: Reason) {
        self.overloaded.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }
}
