//! Metrics of finite streams.

use fanfare_broker::stream_store::AppendOutcome;
use fanfare_protocol::finite::EndKind;
use fanfare_telemetry::registered;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::finite::readers::LiveReaders;

/// Label: outcome of an append.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Label: kind of an end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabel {
    end: &'static str,
}

/// Metrics of finite streams. Lives as long as the node.
#[derive(Clone, Debug)]
pub(crate) struct FiniteMetrics {
    /// `fanfare_finite_created_total`: streams created.
    pub(crate) created: Counter,
    /// `fanfare_finite_appends_total` by outcome.
    appends: Family<OutcomeLabel, Counter>,
    /// `fanfare_finite_appended_bytes_total`: bytes appended.
    pub(crate) bytes: Counter,
    /// `fanfare_finite_read_bytes_total`: bytes sent to readers.
    pub(crate) read: Counter,
    /// `fanfare_finite_ends_total` by kind.
    ends: Family<EndLabel, Counter>,
    /// `fanfare_finite_lapses_total`: streams that ended since their leases were over.
    pub(crate) lapses: Counter,
    /// `fanfare_finite_lost_places_total`: reads from a place that is no longer part of the stream.
    pub(crate) lost_places: Counter,
}

impl FiniteMetrics {
    /// Creates and registers the metrics.
    pub(crate) fn register(registry: &mut Registry, readers: &LiveReaders) -> Self {
        registry.register_collector(Box::new(Readers(readers.clone())));
        let metrics = Self {
            created: registered(registry, "fanfare_finite_created", "Finite streams created"),
            appends: registered(registry, "fanfare_finite_appends", "Appends to finite streams, by outcome"),
            bytes: registered(registry, "fanfare_finite_appended_bytes", "Bytes appended to finite streams"),
            read: registered(
                registry,
                "fanfare_finite_read_bytes",
                "Bytes of finite streams sent to readers",
            ),
            ends: registered(registry, "fanfare_finite_ends", "Finite streams that ended, by kind"),
            lapses: registered(
                registry,
                "fanfare_finite_lapses",
                "Finite streams that ended since their producers were silent for longer than Stream-Lease",
            ),
            lost_places: registered(
                registry,
                "fanfare_finite_lost_places",
                "Reads of finite streams from a place that is no longer part of the stream",
            ),
        };
        for outcome in [AppendOutcome::Appended, AppendOutcome::Closed] {
            let _ = metrics.appends.get_or_create(&OutcomeLabel { outcome: outcome.as_str() });
        }
        for kind in EndKind::ALL {
            let _ = metrics.ends.get_or_create(&EndLabel { end: kind.as_str() });
        }
        metrics
    }

    /// Counts an append.
    pub(crate) fn appended(&self, outcome: AppendOutcome) {
        self.appends.get_or_create(&OutcomeLabel { outcome: outcome.as_str() }).inc();
    }

    /// Counts an end.
    pub(crate) fn ended(&self, kind: EndKind) {
        self.ends.get_or_create(&EndLabel { end: kind.as_str() }).inc();
    }
}

/// `fanfare_finite_readers`: live readers.
#[derive(Debug)]
struct Readers(LiveReaders);

impl Collector for Readers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let readers = ConstGauge::new(i64::try_from(self.0.readers()).unwrap_or(i64::MAX));
        let help = "Live readers of finite streams, long polls included";
        let descriptor =
            encoder.encode_descriptor("fanfare_finite_readers", help, None, readers.metric_type())?;
        readers.encode(descriptor)
    }
}
