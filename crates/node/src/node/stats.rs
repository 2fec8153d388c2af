//! The figures that the node publishes about itself, each second on the channel `fanfare:stats`.
//!
//! They are published whether they are followed or not: without a follower this is one `PUBLISH` a second, which is less than
//! asking first, and a page that opens sees every node within a second.

use std::sync::Arc;
use std::time::Duration;

use fanfare_api::stats::{NodeStats, STATS_TYPE};
use fanfare_broker::clock::unix_ms;
use fanfare_coordination::metrics::ClusterMetrics;
use fanfare_hub::metrics::HubMetrics;
use fanfare_protocol::event::EventType;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Event};
use fanfare_telemetry::Usage;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::app::App;

/// How often the figures are published.
const INTERVAL: Duration = Duration::from_secs(1);
/// Maximum size of the figures, in bytes.
const MAX_BYTES: usize = 4096;

/// The metrics from which the figures are read.
pub(super) struct StatsMetrics {
    pub(super) hub: Arc<HubMetrics>,
    pub(super) cluster: Arc<ClusterMetrics>,
}

/// The task that publishes the figures.
#[derive(Debug)]
pub(super) struct StatsTask {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl StatsTask {
    /// Starts the task of a node with this address.
    pub(super) fn start(app: &Arc<App>, address: String, metrics: StatsMetrics) -> Self {
        let stop = CancellationToken::new();
        let figures = Figures::new(Arc::clone(app), address, metrics);
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            // Figures that are dropped are those of the past.
            let _ = stopped.run_until_cancelled(figures.run()).await;
        });
        Self { stop, task }
    }

    /// Ends the task.
    pub(super) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "stats task panicked");
        }
    }
}

/// What is counted, at one moment.
#[derive(Clone, Copy)]
struct Counted {
    at: Instant,
    opened: u64,
    streams: u64,
    events: u64,
    bytes: u64,
    gaps: u64,
    usage: Option<Usage>,
}

/// The figures of a node over time.
struct Figures {
    app: Arc<App>,
    address: String,
    since: u64,
    metrics: StatsMetrics,
    last: Counted,
    /// How long the broker took the last figures.
    took: Option<Duration>,
}

impl Figures {
    fn new(app: Arc<App>, address: String, metrics: StatsMetrics) -> Self {
        let last = metrics.count();
        Self { app, address, since: unix_ms(), metrics, last, took: None }
    }

    async fn run(mut self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is due at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let stats = self.next();
            self.publish(&stats).await;
        }
    }

    /// Returns the figures since the last ones.
    fn next(&mut self) -> NodeStats {
        let (last, now) = (self.last, self.metrics.count());
        self.last = now;
        let seconds = (now.at - last.at).as_secs_f64();
        let rate = |before: u64, after: u64| per_second(after.saturating_sub(before), seconds);
        let opened = now.opened.saturating_sub(last.opened);
        let ended = (last.streams + opened).saturating_sub(now.streams);
        let cpu = |(before, after): (Usage, Usage)| round((after.cpu_seconds - before.cpu_seconds) / seconds);
        let StatsMetrics { hub, cluster } = &self.metrics;
        NodeStats {
            node: self.app.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.clone(),
            since: self.since,
            ready: self.app.readiness.is_ready(),
            draining: self.app.readiness.is_draining(),
            intake_leader: cluster.intake_leader.get() == 1,
            streams: now.streams,
            max_streams: self.app.limits.connections as u64,
            catching_up: count(hub.catching_up.get()),
            channels: count(hub.channels.get()),
            opened: per_second(opened, seconds),
            ended: per_second(ended, seconds),
            events: rate(last.events, now.events),
            bytes: rate(last.bytes, now.bytes),
            gaps: rate(last.gaps, now.gaps),
            cpu: last.usage.zip(now.usage).map(cpu),
            memory: now.usage.map(|usage| usage.resident_bytes),
            open_fds: now.usage.map(|usage| usage.open_fds),
            max_fds: now.usage.map(|usage| usage.max_fds),
            redis_ms: self.took.map(|took| round(took.as_secs_f64() * 1000.0)),
        }
    }

    /// Publishes figures. Figures that cannot be published are dropped: the next ones are due.
    async fn publish(&mut self, stats: &NodeStats) {
        let Some(publication) = publication(stats) else {
            tracing::error!("BUG: the figures of the node are not an event");
            return;
        };
        let begun = Instant::now();
        let published = timeout(INTERVAL, self.app.broker.publish(vec![publication])).await;
        match published.as_deref() {
            Ok([Ok(_)]) => self.took = Some(begun.elapsed()),
            Ok(failed) => tracing::debug!(?failed, "failed to publish the figures of the node"),
            Err(_) => tracing::debug!("failed to publish the figures of the node: Redis does not answer"),
        }
    }
}

impl StatsMetrics {
    fn count(&self) -> Counted {
        let hub = &self.hub;
        Counted {
            at: Instant::now(),
            opened: hub.opened.get(),
            streams: count(hub.active.get()),
            events: hub.events_sent(),
            bytes: hub.sent_bytes.get(),
            gaps: hub.gaps_sent(),
            usage: Usage::read(),
        }
    }
}

/// Returns the event of figures.
fn publication(stats: &NodeStats) -> Option<Publication> {
    let data = serde_json::to_string(stats).ok()?;
    let event = Event::new(Some(EventType::new(STATS_TYPE).ok()?), data, MAX_BYTES).ok()?;
    Some(Publication { channel: Channel::stats(), event, key: None, ephemeral: true })
}

fn count(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a second are far below 2^53")]
fn per_second(count: u64, seconds: f64) -> f64 {
    round(count as f64 / seconds)
}

/// Rounds to thousandths, so that a figure has few digits.
fn round(figure: f64) -> f64 {
    if figure.is_finite() { (figure * 1000.0).round() / 1000.0 } else { 0.0 }
}
