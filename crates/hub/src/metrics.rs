//! Metrics of the hub and its connections. Names and meanings are public: `docs/operations.md` lists them.

use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use fanfare_broker::clock::unix_ms;
use fanfare_broker::session::CloseReason;
use fanfare_protocol::TraceParent;
use fanfare_telemetry::registered;
use tokio::time::Instant;

use crate::namespaces::{ByNamespace, NamespaceLabel, Namespaces};

/// Upper bounds of the latency histogram, in seconds. The last ones are for events that a client catches up on.
const LATENCY_BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];
/// Upper bounds of the time from a request to a live stream, in seconds.
const CONNECT_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Upper bounds of the duration of a connection: one second to one day.
const DURATION_BUCKETS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// Label: way of an event to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: &'static str,
}

/// Label: close reason of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    reason: &'static str,
}

impl From<CloseReason> for ReasonLabel {
    fn from(reason: CloseReason) -> Self {
        Self { reason: reason.as_str() }
    }
}

/// Label of an exemplar: the trace of a sampled event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabel {
    trace_id: String,
}

/// Reason to suspect a live event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuspectReason {
    /// The position is ahead of the clock of Redis.
    Ahead,
    /// The event does not follow the one before it.
    Chain,
    /// The log does not contain the event.
    Log,
}

impl SuspectReason {
    /// All reasons.
    pub(crate) const ALL: [Self; 3] = [Self::Ahead, Self::Chain, Self::Log];

    /// Returns the name in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Chain => "chain",
            Self::Log => "log",
        }
    }
}

/// Label: reason to suspect a live event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SuspectLabel {
    reason: &'static str,
}

impl From<SuspectReason> for SuspectLabel {
    fn from(reason: SuspectReason) -> Self {
        Self { reason: reason.as_str() }
    }
}

/// Metrics of the hub and its connections. Lives as long as the node.
#[derive(Debug)]
pub struct HubMetrics {
    /// `sse_active_connections`: open streams.
    pub active: Gauge,
    /// `sse_lingering_connections`: streams that ended and whose clients have not closed the connection yet.
    pub(crate) lingering: Gauge,
    /// `sse_lingering_skipped_total`: streams whose sockets were closed with the last byte, because too many
    /// connections of the user or of the node lingered.
    pub(crate) lingering_skipped: Counter,
    /// `sse_max_connections`: maximum number of streams.
    pub max: Gauge,
    /// `sse_connections_total`: streams opened.
    pub opened: Counter,
    /// `sse_reconnections_total`: streams opened by a reconnecting client (with a cursor).
    pub(crate) reconnections: Counter,
    /// `sse_gzip_connections_total`: compressed streams opened.
    pub gzip: Counter,
    /// `sse_gzip_saved_bytes_total`: bytes saved by compression.
    pub gzip_saved: Counter,
    /// `sse_connections_ended_total` by close reason.
    pub ended: Family<ReasonLabel, Counter>,
    /// `sse_connection_duration_seconds` by close reason: from the request to the start of the end.
    durations: Family<ReasonLabel, Histogram>,
    /// `sse_connect_seconds`: from the request until the stream is live in every channel.
    pub(crate) connect: Histogram,
    /// `sse_connections_catching_up`: open streams that read the log of a channel.
    pub catching_up: Gauge,
    /// `sse_sent_bytes_total`: bytes of streams that the sockets accepted.
    pub sent_bytes: Counter,
    /// `sse_events_sent_total`: events queued for clients.
    pub(crate) sent: ByNamespace<Counter>,
    /// `sse_event_latency_seconds` with `path="live"`: from the event's position (the clock of Redis) to its last local
    /// write.
    latency: ByNamespace<Latency>,
    /// `sse_event_latency_seconds` with `path="catch-up"`: age of the oldest event of a page when it is queued for a stream.
    catch_up_latency: ByNamespace<Latency>,
    /// `sse_gaps_total`: `gap` events sent to clients.
    pub(crate) gaps: ByNamespace<Counter>,
    /// Which channel is counted where.
    pub(crate) namespaces: Namespaces,
    /// `sse_ephemeral_dropped_total`: ephemeral events dropped because a client was slow.
    pub(crate) ephemeral_dropped: Counter,
    /// `sse_catch_ups_total`: times a live stream fell behind and started catch-up from the log.
    pub catch_ups: Counter,
    /// `fanfare_channels`: channels this node is subscribed to.
    pub channels: Gauge,
    /// `fanfare_pubsub_disconnects_total`: times the subscriber connection was lost.
    pub(crate) pubsub_disconnects: Counter,
    /// `fanfare_pubsub_malformed_total`: malformed messages on live topics.
    pub(crate) pubsub_malformed: Counter,
    /// `fanfare_pubsub_suspect_total` by reason: live events that may be forged.
    suspects: Family<SuspectLabel, Counter>,
    /// `fanfare_shard_queue_bytes`: bytes of events in the queues of shards.
    pub(crate) shard_queue_bytes: Gauge,
    /// `fanfare_shard_queue_dropped_total`: events dropped because a shard's queue was full; read from the log
    /// instead.
    pub(crate) shard_queue_dropped: Counter,
    /// `fanfare_log_reads_total`: log reads.
    pub reads: Counter,
    /// `fanfare_log_reads_shared_total`: connections served by a log read that another connection started.
    pub(crate) reads_shared: Counter,
    /// `fanfare_log_reads_failed_total`: log reads that failed and are retried.
    pub(crate) reads_failed: Counter,
    /// `fanfare_log_malformed_total`: malformed log entries.
    pub(crate) log_malformed: Counter,
}

impl HubMetrics {
    /// Creates and registers the metrics, without namespaces.
    pub fn register(registry: &mut Registry) -> Self {
        Self::register_with(registry, Namespaces::default())
    }

    /// Creates and registers the metrics.
    pub fn register_with(registry: &mut Registry, namespaces: Namespaces) -> Self {
        let latency = latency(registry);
        let on_path =
            |path| namespaces.each(|label| latency.get_or_create_owned(&(PathLabel { path }, label)));
        let mut counters = |name, help| {
            let family: Family<NamespaceLabel, Counter> = registered(registry, name, help);
            namespaces.each(|label| family.get_or_create_owned(&label))
        };
        let sent = counters("sse_events_sent", "Events queued for clients");
        let gaps = counters("sse_gaps", "Gap events sent to clients");
        let durations = durations(registry);
        let metrics = Self {
            active: registered(registry, "sse_active_connections", "Open streams"),
            lingering: registered(
                registry,
                "sse_lingering_connections",
                "Streams that ended and whose clients have not closed the connection yet",
            ),
            lingering_skipped: registered(
                registry,
                "sse_lingering_skipped",
                "Streams whose sockets were closed at once because too many connections lingered",
            ),
            max: registered(registry, "sse_max_connections", "Maximum number of streams"),
            opened: registered(registry, "sse_connections", "Streams opened"),
            reconnections: registered(
                registry,
                "sse_reconnections",
                "Streams opened by a reconnecting client (with a cursor)",
            ),
            gzip: registered(registry, "sse_gzip_connections", "Compressed streams opened"),
            gzip_saved: registered(registry, "sse_gzip_saved_bytes", "Bytes saved by compression"),
            ended: registered(registry, "sse_connections_ended", "Streams ended, by reason"),
            durations,
            connect: connect(registry),
            catching_up: registered(
                registry,
                "sse_connections_catching_up",
                "Open streams that read the log of a channel",
            ),
            sent_bytes: registered(registry, "sse_sent_bytes", "Bytes of streams that the sockets accepted"),
            sent,
            latency: on_path("live"),
            catch_up_latency: on_path("catch-up"),
            gaps,
            ephemeral_dropped: registered(
                registry,
                "sse_ephemeral_dropped",
                "Ephemeral events dropped because a client was slow",
            ),
            catch_ups: registered(
                registry,
                "sse_catch_ups",
                "Times a live stream fell behind and started catch-up from the log",
            ),
            channels: registered(registry, "fanfare_channels", "Channels this node is subscribed to"),
            pubsub_disconnects: registered(
                registry,
                "fanfare_pubsub_disconnects",
                "Times the subscriber connection was lost",
            ),
            pubsub_malformed: registered(
                registry,
                "fanfare_pubsub_malformed",
                "Malformed messages on live topics",
            ),
            suspects: registered(
                registry,
                "fanfare_pubsub_suspect",
                "Live events that may be forged, by reason; checked against the log",
            ),
            shard_queue_bytes: registered(
                registry,
                "fanfare_shard_queue_bytes",
                "Bytes of events in the queues of shards",
            ),
            shard_queue_dropped: registered(
                registry,
                "fanfare_shard_queue_dropped",
                "Events dropped because a shard's queue was full; read from the log instead",
            ),
            reads: registered(registry, "fanfare_log_reads", "Log reads"),
            reads_shared: registered(
                registry,
                "fanfare_log_reads_shared",
                "Streams served by a log read that another stream started",
            ),
            reads_failed: registered(
                registry,
                "fanfare_log_reads_failed",
                "Log reads that failed and are retried",
            ),
            log_malformed: registered(registry, "fanfare_log_malformed", "Malformed log entries"),
            namespaces,
        };
        metrics.create_series();
        metrics
    }

    /// Creates every series, so that rates can be computed from the start.
    fn create_series(&self) {
        for reason in CloseReason::OF_STREAMS {
            let _ = self.ended.get_or_create(&reason.into());
            let _ = self.durations.get_or_create(&reason.into());
        }
        for reason in SuspectReason::ALL {
            let _ = self.suspects.get_or_create(&reason.into());
        }
    }

    /// Counts the end of a stream, whose request began at `begun`.
    pub(crate) fn count_end(&self, reason: CloseReason, begun: Instant) {
        self.ended.get_or_create(&reason.into()).inc();
        self.durations.get_or_create(&reason.into()).observe(begun.elapsed().as_secs_f64());
    }

    /// Returns the number of events queued for clients.
    pub fn events_sent(&self) -> u64 {
        self.sent.iter().map(Counter::get).sum()
    }

    /// Returns the number of `gap` events.
    pub fn gaps_sent(&self) -> u64 {
        self.gaps.iter().map(Counter::get).sum()
    }

    /// Observes the latency of a live event of a namespace, whose position has this Unix time in milliseconds. If the event is sampled, its
    /// trace becomes the exemplar of the bucket.
    pub(crate) fn observe_live(&self, namespace: u8, published: u64, now: u64, trace: Option<&TraceParent>) {
        let time = trace.map(|_| SystemTime::now());
        let trace = trace.map(|trace| TraceLabel { trace_id: trace.trace_id() });
        self.latency[namespace].observe(seconds(now.saturating_sub(published)), trace, time);
    }

    /// Observes the age of a caught-up event, whose position has this Unix time in milliseconds.
    pub(crate) fn observe_catch_up(&self, namespace: u8, published: u64) {
        self.catch_up_latency[namespace].observe(seconds(unix_ms().saturating_sub(published)), None, None);
    }

    /// Counts a live event that may be forged.
    pub(crate) fn count_suspect(&self, reason: SuspectReason) {
        self.suspects.get_or_create(&reason.into()).inc();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a latency in milliseconds is small")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// The latency histograms, whose exemplars are only in `OpenMetrics`.
type Latency = HistogramWithExemplars<TraceLabel>;

fn latency(registry: &mut Registry) -> Family<(PathLabel, NamespaceLabel), Latency> {
    let create: fn() -> Latency = || Latency::new(LATENCY_BUCKETS.into_iter());
    let latency = Family::new_with_constructor(create);
    registry.register(
        "sse_event_latency_seconds",
        "Time from an event's position (clock of Redis) to its last write on this node; of caught-up events, to the queue",
        latency.clone(),
    );
    latency
}

fn durations(registry: &mut Registry) -> Family<ReasonLabel, Histogram> {
    let durations = Family::new_with_constructor((|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram);
    registry.register(
        "sse_connection_duration_seconds",
        "Time from a stream's request to its end, by reason",
        durations.clone(),
    );
    durations
}

fn connect(registry: &mut Registry) -> Histogram {
    let connect = Histogram::new(CONNECT_BUCKETS);
    registry.register(
        "sse_connect_seconds",
        "Time from a request until its stream is live in every channel",
        connect.clone(),
    );
    connect
}
