//! What HTTP counts. Every series exists from the start, so that a rate can be taken of each.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::overload::Reason;
use crate::rates::{Kind, Scope};

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern; `none` for a path that no route has.
    pub route: String,
    /// The method; `other` for those that no route has.
    pub method: &'static str,
    /// The status.
    pub status: u16,
}

/// One of a few words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    code: &'static str,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    result: &'static str,
}

/// Which limit a socket was refused for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

/// Why a stream was turned away.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    reason: &'static str,
}

/// A rate that was used up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabels {
    scope: &'static str,
    kind: &'static str,
}

/// Whose rates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScopeLabel {
    scope: &'static str,
}

/// What HTTP counts. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    /// `fanfare_http_requests_total` by route, method and status.
    pub requests: Family<RequestLabels, Counter>,
    /// `fanfare_http_problems_total` by code: requests that were refused.
    problems: Family<CodeLabel, Counter>,
    /// `fanfare_publishes_total` by result: `stored`, `repeat`, `sent` (ephemeral), or a problem's code.
    publishes: Family<ResultLabel, Counter>,
    /// `fanfare_streams_refused_total` by reason: streams turned away.
    overloaded: Family<ReasonLabel, Counter>,
    /// `fanfare_rate_limited_total` by scope and kind: requests refused because a user or an address asked for too much.
    rate_limited: Family<LimitLabels, Counter>,
    /// `fanfare_rate_keys` by scope: buckets in use.
    rate_keys: Family<ScopeLabel, Gauge>,
    /// `fanfare_rate_keys_shared_total`: checks of a user or address for which there was no bucket (`limits.rate_keys`).
    pub rate_keys_shared: Counter,
    /// `fanfare_proxy_headers_refused_total`: connections closed because they did not begin with a PROXY protocol header
    /// of a trusted proxy.
    pub proxy_headers_refused: Counter,
    /// `fanfare_ignored_parameters_total`: parameters of streams' requests that are not known.
    pub ignored_parameters: Counter,
    /// `fanfare_accept_errors_total`: sockets that could not be accepted.
    pub accept_errors: Counter,
    /// `fanfare_sockets_evicted_total`: idle sockets closed to make room for others.
    pub sockets_evicted: Counter,
    /// `fanfare_sockets_refused_total` by limit: sockets closed because there was no room.
    pub sockets_refused_address: Counter,
    /// The same for the node's limit.
    pub sockets_refused_node: Counter,
    /// `fanfare_http2_floods_total`: connections closed because of too many control frames.
    pub floods: Counter,
    /// `fanfare_http_connections_total`: sockets accepted.
    pub accepted: Counter,
    /// `fanfare_http_connection_errors_total`: connections that ended by an error: bad heads, time-outs, resets.
    pub connection_errors: Counter,
    /// `fanfare_tls_handshake_errors_total`: connections that ended before TLS was agreed on.
    pub handshake_errors: Counter,
    /// `fanfare_tls_certificates_loaded_total`: renewed certificates that were put in force.
    pub certificates_taken: Counter,
    /// `fanfare_tls_certificate_failures_total`: times a renewed certificate or its key could not be used.
    pub certificates_refused: Counter,
    /// `fanfare_http_connections_cut_total`: connections cut off because the node could not wait any longer.
    pub cut: Counter,
}

impl HttpMetrics {
    /// Makes the metrics and registers them.
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
        registry.register("fanfare_http_requests", "Requests answered", metrics.requests.clone());
        registry.register("fanfare_http_problems", "Requests refused, by code", metrics.problems.clone());
        registry.register("fanfare_publishes", "Events over HTTP, by result", metrics.publishes.clone());
        registry.register(
            "fanfare_streams_refused",
            "Streams turned away, by reason",
            metrics.overloaded.clone(),
        );
        registry.register(
            "fanfare_ignored_parameters",
            "Parameters of streams' requests that are not known",
            metrics.ignored_parameters.clone(),
        );
        registry.register(
            "fanfare_accept_errors",
            "Sockets that could not be accepted",
            metrics.accept_errors.clone(),
        );
        registry.register(
            "fanfare_sockets_evicted",
            "Idle sockets closed to make room for others",
            metrics.sockets_evicted.clone(),
        );
        let refused: Family<LimitLabel, Counter> = Family::default();
        metrics.sockets_refused_address = refused.get_or_create_owned(&LimitLabel { limit: "address" });
        metrics.sockets_refused_node = refused.get_or_create_owned(&LimitLabel { limit: "node" });
        registry.register(
            "fanfare_sockets_refused",
            "Sockets closed because there was no room, by limit",
            refused,
        );
        registry.register(
            "fanfare_http2_floods",
            "Connections closed because of too many control frames",
            metrics.floods.clone(),
        );
        registry.register("fanfare_http_connections", "Sockets accepted", metrics.accepted.clone());
        registry.register(
            "fanfare_http_connection_errors",
            "Connections ended by an error",
            metrics.connection_errors.clone(),
        );
        registry.register(
            "fanfare_tls_handshake_errors",
            "Connections that ended before TLS was agreed on",
            metrics.handshake_errors.clone(),
        );
        registry.register(
            "fanfare_tls_certificates_loaded",
            "Renewed certificates put in force",
            metrics.certificates_taken.clone(),
        );
        registry.register(
            "fanfare_tls_certificate_failures",
            "Times a renewed certificate could not be used",
            metrics.certificates_refused.clone(),
        );
        registry.register(
            "fanfare_http_connections_cut",
            "Connections cut off at the end of the node",
            metrics.cut.clone(),
        );
        metrics
    }

    fn register_rates(&self, registry: &mut Registry) {
        registry.register(
            "fanfare_rate_limited",
            "Requests refused because a user or an address asked for too much",
            self.rate_limited.clone(),
        );
        registry.register(
            "fanfare_rate_keys",
            "Buckets of users and addresses in use",
            self.rate_keys.clone(),
        );
        registry.register(
            "fanfare_rate_keys_shared",
            "Checks of a user or address that had no bucket of its own",
            self.rate_keys_shared.clone(),
        );
        registry.register(
            "fanfare_proxy_headers_refused",
            "Connections closed without a PROXY protocol header of a trusted proxy",
            self.proxy_headers_refused.clone(),
        );
    }

    /// Counts a request that was refused because its user or address asked for too much.
    pub fn count_limited(&self, scope: Scope, kind: Kind) {
        let labels = LimitLabels { scope: scope.as_str(), kind: kind.as_str() };
        self.rate_limited.get_or_create(&labels).inc();
    }

    /// Shows how many buckets are in use.
    pub fn show_rate_keys(&self, scope: Scope, buckets: usize) {
        let gauge = self.rate_keys.get_or_create(&ScopeLabel { scope: scope.as_str() });
        gauge.set(i64::try_from(buckets).unwrap_or(i64::MAX));
    }

    /// Counts a request that was refused.
    pub fn count_problem(&self, code: &'static str) {
        self.problems.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts what became of an event.
    pub fn count_publish(&self, result: &'static str) {
        self.publishes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a stream that was turned away.
    pub fn count_overloaded(&self, reason: Reason) {
        self.overloaded.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }
}
