//! Metrics of HTTP. Every series exists from the start, so that rates can be computed.

use fanfare_telemetry::registered;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::attempt::{Attempts, Outcome};
use super::overload::Reason;
use crate::audit::call::Route;

/// Result of publishing an event that was stored.
const STORED: &str = "stored";

/// Labels of a completed request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// Pattern of the route; `none` for a path without a route.
    pub(crate) route: Route,
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

/// Metrics of HTTP. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics {
    /// `fanfare_http_requests_total` by route, method and status.
    pub requests: Family<RequestLabels, Counter>,
    /// `fanfare_http_problems_total` by code: requests that were refused.
    problems: Family<CodeLabel, Counter>,
    /// `fanfare_publishes_total` by result: `stored`, `repeat`, `sent` (ephemeral), or a problem's code.
    publishes: Family<ResultLabel, Counter>,
    /// The same for events that were stored, which are the most.
    stored: Counter,
    /// `sse_connect_attempts_total` by outcome: requests for a stream.
    pub attempts: Attempts,
    /// `fanfare_streams_refused_total` by reason: streams refused.
    overloaded: Family<ReasonLabel, Counter>,
    /// `fanfare_proxy_headers_refused_total`: connections refused because they had no PROXY protocol header from a
    /// trusted proxy.
    pub proxy_headers_refused: Counter,
    /// `fanfare_ignored_parameters_total`: unknown parameters of stream requests.
    pub ignored_parameters: Counter,
    /// `fanfare_forwarded_ignored_total`: requests with a header of client addresses that no trusted proxy has set.
    pub forwarded_ignored: Counter,
    /// `fanfare_accept_errors_total`: failures to accept a socket.
    pub accept_errors: Counter,
    /// `fanfare_sockets_evicted_total`: idle sockets closed for new ones.
    pub sockets_evicted: Counter,
    /// `fanfare_sockets_refused_total` by limit: sockets refused.
    pub sockets_refused_address: Counter,
    /// The same for the node's limit.
    pub sockets_refused_node: Counter,
    /// The same for `limits.memory`.
    pub sockets_refused_memory: Counter,
    /// `fanfare_http2_floods_total`: HTTP/2 connections closed because of too many control frames.
    pub floods: Counter,
    /// `fanfare_http_connections_total`: sockets accepted.
    pub accepted: Counter,
    /// `fanfare_http_connection_errors_total`: connections closed by an error: bad heads, timeouts, resets.
    pub connection_errors: Counter,
    /// `fanfare_tls_handshake_errors_total`: failed TLS handshakes.
    pub handshake_errors: Counter,
    /// `fanfare_tls_client_certificates_refused_total`: handshakes that failed because of the client's certificate.
    pub client_certificates_refused: Counter,
    /// `fanfare_http_connections_cut_total`: connections closed at the shutdown deadline.
    pub cut: Counter,
}

impl HttpMetrics {
    /// Creates and registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let refused: Family<LimitLabel, Counter> =
            registered(registry, "fanfare_sockets_refused", "Sockets refused, by limit");
        let refused = |limit| refused.get_or_create_owned(&LimitLabel { limit });
        let publishes: Family<ResultLabel, Counter> =
            registered(registry, "fanfare_publishes", "Events published over HTTP, by result");
        let metrics = Self {
            requests: registered(registry, "fanfare_http_requests", "Requests completed"),
            problems: registered(registry, "fanfare_http_problems", "Requests refused, by code"),
            stored: publishes.get_or_create_owned(&ResultLabel { result: STORED }),
            publishes,
            attempts: registered(registry, "sse_connect_attempts", "Requests for a stream, by outcome"),
            overloaded: registered(registry, "fanfare_streams_refused", "Streams refused, by reason"),
            ignored_parameters: registered(
                registry,
                "fanfare_ignored_parameters",
                "Unknown parameters of stream requests",
            ),
            proxy_headers_refused: registered(
                registry,
                "fanfare_proxy_headers_refused",
                "Connections refused: no PROXY protocol header from a trusted proxy",
            ),
            forwarded_ignored: registered(
                registry,
                "fanfare_forwarded_ignored",
                "Requests with http.forwarded_header whose peer is not a trusted proxy",
            ),
            accept_errors: registered(registry, "fanfare_accept_errors", "Failures to accept a socket"),
            sockets_evicted: registered(
                registry,
                "fanfare_sockets_evicted",
                "Idle sockets closed for new ones",
            ),
            floods: registered(
                registry,
                "fanfare_http2_floods",
                "HTTP/2 connections closed because of too many control frames",
            ),
            accepted: registered(registry, "fanfare_http_connections", "Sockets accepted"),
            connection_errors: registered(
                registry,
                "fanfare_http_connection_errors",
                "Connections closed by an error",
            ),
            handshake_errors: registered(registry, "fanfare_tls_handshake_errors", "Failed TLS handshakes"),
            client_certificates_refused: registered(
                registry,
                "fanfare_tls_client_certificates_refused",
                "Failed TLS handshakes because of the client's certificate",
            ),
            cut: registered(
                registry,
                "fanfare_http_connections_cut",
                "Connections closed at the shutdown deadline",
            ),
            sockets_refused_address: refused("address"),
            sockets_refused_node: refused("node"),
            sockets_refused_memory: refused("memory"),
        };
        for outcome in Outcome::ALL {
            let _ = metrics.attempts.get_or_create(&[("outcome", outcome.as_str())]);
        }
        for reason in Reason::WORDS {
            let _ = metrics.overloaded.get_or_create(&ReasonLabel { reason });
        }
        for result in ["repeat", "sent"] {
            let _ = metrics.publishes.get_or_create(&ResultLabel { result });
        }
        metrics
    }

    /// Counts a request that was refused.
    pub fn count_problem(&self, code: &'static str) {
        self.problems.get_or_create(&CodeLabel { code }).inc();
    }

    /// Counts the result of publishing an event.
    pub fn count_publish(&self, result: &'static str) {
        match result {
            STORED => self.stored.inc(),
            result => self.publishes.get_or_create(&ResultLabel { result }).inc(),
        };
    }

    /// Counts a refused stream.
    pub fn count_overloaded(&self, reason: Reason) {
        self.overloaded.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc();
    }
}
