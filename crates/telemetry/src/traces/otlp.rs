//! Spans, and their way to the collector.
//!
//! A publisher's sampled context has two kinds of spans on nodes: `publish`, on the node that publishes the event, and `fan-out`,
//! on each node with streams of its channel. Names and attributes are those of OpenTelemetry's semantic conventions for messaging
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>): a fan-out span has the publish span as its parent
//! and as a link.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fanfare_protocol::{Channel, Event, TraceParent};
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter,
};

use super::{TraceError, TraceMetrics, TraceSettings, TracedEvent};
use crate::Throttle;

/// Path of traces at a collector (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>).
const PATH: &str = "/v1/traces";
/// Maximum number of spans in a request.
const BATCH: usize = 512;
/// Time for the last spans in the shutdown.
const FAREWELL: Duration = Duration::from_secs(2);

/// Makes the spans of sampled events. Clones share one queue.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    metrics: TraceMetrics,
}

/// The spans of events that are being published, one for each context.
#[derive(Debug)]
#[must_use]
pub struct PublishSpans {
    spans: Vec<(TraceParent, Span)>,
    inner: Option<Arc<Inner>>,
}

/// The span of an event's fan-out on this node. Clones are the parts of the shards; the span ends with the last one.
#[derive(Clone, Debug)]
pub struct FanOutSpan(Arc<FanOut>);

#[derive(Debug)]
struct FanOut {
    inner: Arc<Inner>,
    parent: TraceParent,
    begun: SystemTime,
    attributes: Vec<KeyValue>,
    shards: AtomicU64,
    streams: AtomicU64,
}

impl Tracer {
    /// Starts the thread that sends spans to the collector, if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the client cannot be set up.
    pub fn start(settings: TraceSettings, metrics: TraceMetrics) -> Result<Self, TraceError> {
        let Some(endpoint) = &settings.endpoint else { return Ok(Self(None)) };
        let endpoint = format!("{}{PATH}", endpoint.trim_end_matches('/'));
        let exporter = Counted { exporter: exporter(endpoint, settings.timeout)?, metrics: metrics.clone() };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(settings.queue)
            .with_max_export_batch_size(BATCH.min(settings.queue))
            .with_scheduled_delay(settings.interval)
            .build();
        let resource = Resource::builder()
            .with_service_name("fanfare")
            .with_attribute(KeyValue::new("service.instance.id", settings.node))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("fanfare");
        Ok(Self(Some(Arc::new(Inner { provider, tracer, metrics }))))
    }

    /// Starts the spans of events that are about to be published by a way in, one for each sampled context. The events continue
    /// these spans.
    pub fn publishing<'a>(
        &self,
        way: &'static str,
        events: impl IntoIterator<Item = (&'a Channel, &'a mut Event)>,
    ) -> PublishSpans {
        let mut spans: Vec<(TraceParent, Span)> = Vec::new();
        let Some(inner) = &self.0 else { return PublishSpans { spans, inner: None } };
        for (channel, event) in events {
            let Some(parent) = event.trace().copied().filter(TraceParent::is_sampled) else { continue };
            // The contexts of a batch mostly come in a row.
            let known = spans.iter().rposition(|(known, _)| *known == parent);
            let at = known.unwrap_or_else(|| {
                spans.push((parent, inner.publish_span(&parent, channel, way)));
                spans.len() - 1
            });
            if let Some(context) = trace_parent(spans[at].1.span_context()) {
                *event = event.clone().traced(Some(context));
            }
        }
        PublishSpans { spans, inner: Some(Arc::clone(inner)) }
    }

    /// Starts the span of an event that is passed to the shards, if it is sampled.
    #[inline]
    pub fn fan_out(&self, traced: TracedEvent<'_>) -> Option<FanOutSpan> {
        let inner = self.0.as_ref()?;
        let parent = traced.event.trace().copied().filter(TraceParent::is_sampled)?;
        Some(inner.fan_out_span(parent, traced))
    }

    /// Sends the last spans, for at most two seconds, and ends the thread.
    pub async fn shutdown(&self) {
        if let Some(inner) = self.0.clone() {
            let shutdown = move || inner.provider.shutdown_with_timeout(FAREWELL);
            // A failure is counted by the exporter.
            let _ = tokio::task::spawn_blocking(shutdown).await;
        }
    }
}

impl Inner {
    fn publish_span(&self, parent: &TraceParent, channel: &Channel, way: &'static str) -> Span {
        let mut attributes = about(channel, "publish", "send");
        attributes.push(KeyValue::new("fanfare.way", way));
        self.tracer
            .span_builder("publish")
            .with_kind(SpanKind::Producer)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &remote(parent))
    }

    fn fan_out_span(self: &Arc<Self>, parent: TraceParent, traced: TracedEvent<'_>) -> FanOutSpan {
        let TracedEvent { channel, event, position } = traced;
        let mut attributes = about(channel, "fan-out", "process");
        let bytes = i64::try_from(event.data_bytes().len()).unwrap_or(i64::MAX);
        attributes.push(KeyValue::new("messaging.message.body.size", bytes));
        attributes
            .extend(position.map(|position| KeyValue::new("messaging.message.id", position.to_string())));
        FanOutSpan(Arc::new(FanOut {
            inner: Arc::clone(self),
            parent,
            begun: SystemTime::now(),
            attributes,
            shards: AtomicU64::new(0),
            streams: AtomicU64::new(0),
        }))
    }
}

impl PublishSpans {
    /// Ends the spans. `failed`: an event could not be published.
    pub fn end(self, failed: bool) {
        let Some(inner) = self.inner else { return };
        for (_, mut span) in self.spans {
            if failed {
                span.set_status(Status::error("not all events were published"));
            }
            span.end();
            inner.metrics.spans.inc();
        }
    }
}

impl FanOutSpan {
    /// Adds the streams of a shard that have the event, in their sockets or queues.
    pub fn delivered(&self, streams: usize) {
        self.0.shards.fetch_add(1, Ordering::Relaxed);
        self.0.streams.fetch_add(streams as u64, Ordering::Relaxed);
    }
}

/// The last shard is done with the event, or has dropped it.
impl Drop for FanOut {
    fn drop(&mut self) {
        let count = |count: &mut AtomicU64| i64::try_from(*count.get_mut()).unwrap_or(i64::MAX);
        self.attributes.push(KeyValue::new("fanfare.shards", count(&mut self.shards)));
        self.attributes.push(KeyValue::new("fanfare.streams", count(&mut self.streams)));
        let tracer = &self.inner.tracer;
        tracer
            .span_builder("fan-out")
            .with_kind(SpanKind::Consumer)
            .with_start_time(self.begun)
            .with_attributes(std::mem::take(&mut self.attributes))
            .with_links(vec![Link::with_context(span_context(&self.parent))])
            .start_with_context(tracer, &remote(&self.parent))
            .end();
        self.inner.metrics.spans.inc();
    }
}

fn about(channel: &Channel, name: &'static str, kind: &'static str) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "fanfare"),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.operation.type", kind),
        KeyValue::new("messaging.destination.name", channel.as_str().to_owned()),
    ]
}

fn span_context(parent: &TraceParent) -> SpanContext {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(parent.trace()), SpanId::from_bytes(parent.span()));
    SpanContext::new(trace, span, flags, true, TraceState::default())
}

/// Returns a context in which a span is a child of this remote one.
fn remote(parent: &TraceParent) -> Context {
    Context::new().with_remote_span_context(span_context(parent))
}

fn trace_parent(context: &SpanContext) -> Option<TraceParent> {
    TraceParent::new(context.trace_id().to_bytes(), context.span_id().to_bytes(), context.is_sampled())
}

/// Returns the exporter. Its client is made on a thread of its own, since it starts a runtime.
fn exporter(endpoint: String, timeout: Duration) -> Result<opentelemetry_otlp::SpanExporter, TraceError> {
    let failed = |error: &dyn std::fmt::Display| TraceError::Client(error.to_string());
    // Fails if the process has a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = move || {
        let client = reqwest::blocking::Client::builder().timeout(timeout).no_proxy();
        client.redirect(reqwest::redirect::Policy::none()).build()
    };
    let client = std::thread::Builder::new().name("trace-client".to_owned()).spawn(client);
    let client = client.map_err(|error| failed(&error))?.join();
    let client =
        client.map_err(|_| TraceError::Client("a panic".to_owned()))?.map_err(|error| failed(&error))?;
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(timeout)
        .build()
        .map_err(|error| failed(&error))
}

/// Counts the spans that the collector accepts, and logs why it does not.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    metrics: TraceMetrics,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        static LOG: Throttle = Throttle::of_a_condition();
        let count = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        match &result {
            Ok(()) => self.metrics.exported.inc_by(count),
            Err(error) => {
                if let Some(held_back) = LOG.admit() {
                    tracing::warn!(%error, spans = count, held_back, "failed to send traces to the collector (trace.endpoint)");
                }
                self.metrics.failed.inc_by(count)
            }
        };
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
