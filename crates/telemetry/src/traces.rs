//! Traces: spans of events whose publisher sampled them, sent to a collector by OTLP.
//!
//! The publisher's context decides alone: an event without one, or with one that is not sampled, has no span and costs nothing
//! beyond that question. Without the feature `otlp` there are no spans, and the compiler removes the question, too.
//!
//! # Layout
//!
//! - `otlp`: spans, and their way to the collector; `off`: the same without the feature

#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod otlp;

use std::time::Duration;

use fanfare_protocol::{Channel, Event, Position};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

#[cfg(not(feature = "otlp"))]
pub use self::off::{FanOutSpan, PublishSpans, Tracer};
#[cfg(feature = "otlp")]
pub use self::otlp::{FanOutSpan, PublishSpans, Tracer};
use crate::registered;

/// Settings of traces.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// URL of the collector, without the path `/v1/traces`; `None` for no traces.
    pub endpoint: Option<String>,
    /// Maximum number of spans that wait for the collector.
    pub queue: usize,
    /// Time between two requests to the collector, at most.
    pub interval: Duration,
    /// Timeout of a request.
    pub timeout: Duration,
    /// The node's id.
    pub node: String,
}

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The feature is missing.
    #[error("trace.endpoint is set, but this binary was built without traces (cargo feature otlp)")]
    NotBuilt,
    /// The client cannot be set up.
    #[error("cannot set up the client of the collector (trace.endpoint): {0}")]
    Client(String),
}

/// Metrics of traces.
#[derive(Clone, Debug, Default)]
pub struct TraceMetrics {
    /// `fanfare_trace_spans_total`: spans that ended.
    pub spans: Counter,
    /// `fanfare_trace_spans_exported_total`: spans that the collector accepted.
    pub exported: Counter,
    /// `fanfare_trace_spans_failed_total`: spans that could not be sent to the collector.
    pub failed: Counter,
}

impl TraceMetrics {
    /// Creates and registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            spans: registered(registry, "fanfare_trace_spans", "Spans of traced events that ended"),
            exported: registered(
                registry,
                "fanfare_trace_spans_exported",
                "Spans that the collector accepted",
            ),
            failed: registered(
                registry,
                "fanfare_trace_spans_failed",
                "Spans that could not be sent to the collector",
            ),
        }
    }
}

/// An event on its way to the streams of a node.
#[derive(Clone, Copy, Debug)]
pub struct TracedEvent<'a> {
    /// The channel.
    pub channel: &'a Channel,
    /// The event.
    pub event: &'a Event,
    /// The position of a stored event.
    pub position: Option<Position>,
}
