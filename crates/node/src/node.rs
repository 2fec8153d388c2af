//! Starts and shuts down a node.
//!
//! # Layout
//!
//! - `coordination`: what the node does together with others
//! - `readiness`: the checks of `/readyz`
//! - `admin`: the listener of probes, metrics and operators
//! - `records`: the log of connections, and traces
//! - `stats`: the figures that the node publishes

mod admin;
mod coordination;
mod readiness;
mod records;
mod retry_upkeep;
mod stats;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use fanfare_auth::remote_keys::source::SourceError;
use fanfare_broker::redis::RedisBroker;
use fanfare_broker::session::CloseReason;
use fanfare_broker::{Broker, EventLog, NodeId};
use fanfare_config::drain::DrainConfig;
use fanfare_config::{Config, bytes};
use fanfare_coordination::control::{self, CommandSender};
use fanfare_coordination::lease::NodeIdInUse;
use fanfare_coordination::metrics::ClusterMetrics;
use fanfare_coordination::revocations::metrics::RevocationMetrics;
use fanfare_coordination::revocations::{RevocationSettings, Revocations};
use fanfare_hub::metrics::HubMetrics;
use fanfare_hub::namespaces::Namespaces;
use fanfare_hub::retry::{RetryPolicy, RetrySettings};
use fanfare_hub::{Hub, HubSettings, PREFETCH};
use fanfare_telemetry::registered;
use fanfare_telemetry::traces::TraceError;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::Instant;

use self::coordination::Coordination;
use self::records::Records;
use self::retry_upkeep::RetryUpkeep;
use self::stats::{StatsMetrics, StatsTask};
use crate::address::trusted::TrustedProxies;
use crate::audit::Audit;
use crate::auth::metrics::KeyMetrics;
use crate::auth::tickets::Tickets;
use crate::auth::upkeep::KeyUpkeep;
use crate::auth::{Auth, CallbackMetrics, SetupError};
use crate::finite::Finite;
use crate::finite::readers::LiveReaders;
use crate::http;
use crate::http::Side;
use crate::http::app::App;
use crate::http::counts::Counts;
use crate::http::events::StreamEndpoint;
use crate::http::hosts::Hosts;
use crate::http::metrics::HttpMetrics;
use crate::http::places::Places;
use crate::http::readiness::Readiness;
use crate::http::takeover::Admissions;
use crate::listener::{self, Listener, OpenStream};
use crate::memory::{self, Memory};
use crate::rates::Rates;
use crate::rates::metrics::RateMetrics;
use crate::tls::metrics::TlsMetrics;
use crate::tls::{Tls, TlsError};
use crate::upkeep::Upkeep;

/// Time for requests in progress on the admin listener at the end of the shutdown.
const ADMIN_FAREWELL: Duration = Duration::from_millis(500);

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen on {addr} ({setting}): {error}")]
    Listen {
        /// `node.listen` or `admin.listen`.
        setting: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// TLS cannot be set up, because of the certificate's files or the TLS library.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The thread of a log cannot be started.
    #[error("cannot start a thread for the log of connections (log.connections): {0}")]
    Thread(#[source] io::Error),
    /// A file with keys of tokens cannot be used.
    #[error(transparent)]
    Auth(#[from] SetupError),
    /// A URL with keys of tokens cannot be used.
    #[error(transparent)]
    Jwks(#[from] SourceError),
}

/// The shutdown did not complete within `drain.deadline`. The rest ends with the process.
#[derive(Debug, thiserror::Error)]
#[error("shutdown did not complete within {0:?} (drain.deadline)")]
pub struct TooLate(Duration);

/// Why a node must stop.
#[derive(Debug, thiserror::Error)]
pub enum MustStop {
    /// Another running process uses this node id.
    #[error(transparent)]
    NodeIdInUse(NodeIdInUse),
    /// A task panicked because of a bug: the node must be restarted.
    #[error("a shard task panicked; see the log")]
    Broken,
}

/// What a node has besides its settings and its broker.
#[derive(Debug, Default)]
pub struct Additions {
    /// Pages that are served besides the API.
    pub pages: Router,
    /// The broker, if it is Redis: its metrics are shown.
    pub redis: Option<RedisBroker>,
}

/// A running node. Must be shut down: if it is dropped, its tasks run until the process ends.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    drain: DrainConfig,
    draining: Arc<AtomicBool>,
    /// `fanfare_draining`: 1 while the node drains.
    draining_shown: Gauge,
    admissions: Admissions,
    listener: Listener,
    /// The admin listener, which runs until the end of the shutdown.
    admin: Option<Listener>,
    audit: Arc<Audit>,
    /// Forgets rates, and floods of refusals, that are over.
    upkeep: Upkeep,
    keys: KeyUpkeep,
    retry: RetryUpkeep,
    /// Publishes the figures of the node.
    stats: StatsTask,
    hub: Hub,
    records: Records,
    /// Live readers of finite streams.
    readers: LiveReaders,
    coordination: Coordination,
}

impl Node {
    /// Starts a node with checked settings.
    ///
    /// # Errors
    ///
    /// Fails if an address cannot be bound, or if the certificate or a key file cannot be loaded.
    pub fn start(config: &Config, broker: Arc<dyn Broker>) -> Result<Self, StartError> {
        Self::start_with(config, broker, Additions::default())
    }

    /// Starts a node with additions. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// Fails if an address cannot be bound, or if the certificate or a key file cannot be loaded.
    pub fn start_with(
        config: &Config,
        broker: Arc<dyn Broker>,
        Additions { pages, redis }: Additions,
    ) -> Result<Self, StartError> {
        let mut registry = registry(redis.as_ref());
        let tls = Tls::load(&config.tls, TlsMetrics::register(&mut registry))?;
        let auth = Auth::new(&config.auth, CallbackMetrics::register(&mut registry))?;
        let (listener, bound) = listen(config, "node.listen", config.node.listen)?;
        let admin = config.admin.listen.map(|addr| listen(config, "admin.listen", addr)).transpose()?;

        let metrics = hub_metrics(config, &mut registry);
        let cluster = Arc::new(ClusterMetrics::register(&mut registry));
        let http_metrics = HttpMetrics::register(&mut registry);
        let revocation_metrics = RevocationMetrics::register(&mut registry);
        let audit = Arc::new(Audit::new(config.node.id.clone(), &mut registry));
        let memory = memory(config, &mut registry);

        let (commands, waiting) = control::queue(&cluster);
        let id = &config.node.id;
        let retry = RetryPolicy::new(RetrySettings::new(&config.stream, config.drain.retry_spread));
        let records = Records::start(config, &mut registry)?;
        let settings = hub_settings(config, (&retry, &records), &memory);
        let hub = start_hub(&broker, &settings, (id, &metrics, commands));
        let revocations = Revocations::new(broker.clone(), revocation_settings(config), revocation_metrics);
        let checked = (bound, &revocations, &records.tracer);
        let coordination = Coordination::start(config, &broker, &hub, waiting, checked, &cluster);

        let key_metrics = KeyMetrics::register(&mut registry);
        let keys = KeyUpkeep::start(&auth, config.auth.reload_interval, &key_metrics)?;
        let rates = Rates::new(&config.limits, RateMetrics::register(&mut registry));
        let rates = Arc::new(rates.with_keys(&config.auth.keys));
        let draining = Arc::new(AtomicBool::new(false));
        let draining_shown = registered(&mut registry, "fanfare_draining", "1 while the node drains");
        let readiness = readiness(&coordination, (&hub, &auth), &revocations, &draining);
        let app = Arc::new(App {
            node: id.clone(),
            finite: Finite::new(config, &broker, id, &mut registry),
            tickets: Tickets::new(Arc::clone(&broker), config),
            broker,
            memory: memory.clone(),
            budget: hub.budget(),
            histories: Places::new(config.limits.history_reads, config.limits.history_reads_per_user),
            sessions: coordination.sessions(),
            auth,
            revocations,
            tokens: coordination.tokens(),
            limits: config.limits.clone(),
            rates: Arc::clone(&rates),
            proxies: TrustedProxies::of(&config.http),
            gzip: config.stream.gzip,
            retry: retry.clone(),
            http: config.http.clone(),
            ack: config.ack.clone(),
            presence: config.session.presence_channels.clone(),
            retention: config.retention.rules(),
            readiness,
            ignored: crate::http::ignored::Ignored::default(),
            audit: Arc::clone(&audit),
            metrics: http_metrics.clone(),
            tracer: records.tracer.clone(),
            counts: Counts::new(registry),
        });
        let admissions = Admissions::default();
        let endpoint = |side| StreamEndpoint::new(Arc::clone(&app), hub.clone(), admissions.clone(), side);
        let (allowed, is_open) = (&config.http.allowed_hosts, app.auth.is_open());
        let side = if admin.is_some() { Side::Public } else { Side::Both };
        let hosts = Hosts::new(allowed, config.node.listen, is_open);
        let router = http::router(&app, endpoint(side), pages, (side, hosts));
        let open = opening(hub.clone());
        let listener = Listener::start(
            listener,
            bound,
            router,
            Arc::clone(&open),
            (config, tls),
            (http_metrics.clone(), memory, Arc::clone(&audit)),
        );
        // Metrics and readiness need no token.
        let admin = admin.map(|(listener, bound)| {
            let router = http::admin_router(&app, endpoint(Side::Admin), Hosts::new(allowed, bound, true));
            admin::start((listener, bound), router, open, config, (http_metrics, Arc::clone(&audit)))
        });
        let stats =
            StatsTask::start(&app, config.node.advertised(bound), StatsMetrics { hub: metrics, cluster });
        let upkeep = Upkeep::start(upkeep(rates, Arc::clone(&audit)));
        let retry = RetryUpkeep::start(retry, &app.broker, hub.clone(), config);
        Ok(Self {
            id: id.clone(),
            drain: config.drain.clone(),
            draining,
            draining_shown,
            admissions,
            listener,
            admin,
            audit,
            upkeep,
            keys,
            retry,
            stats,
            hub,
            records,
            readers: app.finite.readers.clone(),
            coordination,
        })
    }

    /// Returns the address of the admin listener, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Listener::addr)
    }

    /// Returns the listen address.
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Returns the node id.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// Waits until the node must stop. The caller must shut it down then.
    pub async fn must_stop(&self) -> MustStop {
        // Both branches only wait.
        tokio::select! {
            name = self.coordination.node_id_conflict() => MustStop::NodeIdInUse(name),
            () = self.hub.broken() => MustStop::Broken,
        }
    }

    /// Shuts down gracefully: sets the readiness to false, waits for load balancers to notice, closes the streams in
    /// waves, completes requests in progress, and releases the sessions and the lease.
    ///
    /// # Errors
    ///
    /// Fails if the shutdown does not complete within `drain.deadline`.
    pub async fn shutdown(self) -> Result<(), TooLate> {
        let limit = self.drain.deadline;
        let begun = Instant::now();
        tokio::time::timeout_at(begun + limit, self.drain_and_stop(begun)).await.map_err(|_| TooLate(limit))
    }

    async fn drain_and_stop(self, begun: Instant) {
        let Self {
            id,
            drain,
            draining,
            draining_shown,
            admissions,
            listener,
            admin,
            audit,
            upkeep,
            keys,
            retry,
            stats,
            hub,
            records,
            readers,
            coordination,
        } = self;
        draining.store(true, Ordering::Relaxed);
        draining_shown.set(1);
        coordination.set_draining();
        tracing::info!(node = %id, streams = hub.connections(), notice = ?drain.notice, "draining: readiness set to false");
        tokio::time::sleep(drain.notice).await;
        // Load balancers send new connections to other nodes by now; existing keep-alive connections are closed.
        listener.send_goaway();
        // No stream may be opened after the hub was shut down.
        admissions.wait().await;
        readers.end_readers();
        drain_streams(&hub, drain.window).await;
        hub.shutdown(CloseReason::Shutdown).await;
        // Waiting for clients must leave time to release sessions.
        listener.shutdown(begun + drain.deadline * 3 / 4).await;
        readers.shutdown().await;
        tokio::join!(upkeep.shutdown(), keys.shutdown(), retry.shutdown(), stats.shutdown());
        let left = coordination.shutdown(begun + drain.deadline * 7 / 8).await;
        // Last, so that probes and metrics are served until the end.
        if let Some(admin) = admin {
            admin.shutdown(Instant::now() + ADMIN_FAREWELL).await;
        }
        records.shutdown().await;
        audit.tell_all();
        tracing::info!(node = %id, sessions_left = left, took = ?begun.elapsed(), "shutdown complete");
    }
}

/// Returns a registry with the metrics of the process, of the build and of connections to Redis.
fn registry(redis: Option<&RedisBroker>) -> Registry {
    let mut registry = Registry::default();
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("fanfare_build", "Version of Fanfare", build);
    #[cfg(target_os = "linux")]
    registry.register_collector(Box::new(fanfare_telemetry::ProcessMetrics));
    if let Some(redis) = redis {
        redis.register_metrics(&mut registry);
    }
    registry
}

/// Returns the checks of readiness.
fn readiness(
    coordination: &Coordination,
    (hub, auth): (&Hub, &Auth),
    revocations: &Revocations,
    draining: &Arc<AtomicBool>,
) -> Readiness {
    let authenticator = auth.authenticator().cloned();
    readiness::checks(coordination.lease(), hub.wire(), authenticator, revocations.clone(), draining)
}

/// Returns the memory of clients, with its metrics.
fn memory(config: &Config, registry: &mut Registry) -> Memory {
    let memory = Memory::new(memory::budget(bytes(config.limits.memory)));
    memory.register(registry);
    memory
}

/// Returns the metrics of the hub.
fn hub_metrics(config: &Config, registry: &mut Registry) -> Arc<HubMetrics> {
    let patterns = config.retention.rules.iter().map(|rule| rule.channel.clone());
    let namespaces =
        if config.metrics.namespaces { Namespaces::new(patterns) } else { Namespaces::default() };
    let metrics = HubMetrics::register_with(registry, namespaces);
    metrics.max.set(i64::try_from(config.limits.connections).unwrap_or(i64::MAX));
    Arc::new(metrics)
}

/// Returns the settings of the hub.
fn hub_settings(config: &Config, (retry, records): (&RetryPolicy, &Records), memory: &Memory) -> HubSettings {
    HubSettings {
        stream: config.stream.clone(),
        max_data: bytes(config.limits.event_data),
        retry: retry.clone(),
        log: records.log.clone(),
        tracer: records.tracer.clone(),
        sockets_per_user: config.limits.sessions_per_user,
        lingering: config.limits.sockets,
        queues: memory.queues(),
        prefetch: PREFETCH,
    }
}

/// Starts the hub on a broker.
fn start_hub(
    broker: &Arc<dyn Broker>,
    settings: &HubSettings,
    (id, metrics, commands): (&NodeId, &Arc<HubMetrics>, CommandSender),
) -> Hub {
    let log: Arc<dyn EventLog> = broker.clone();
    Hub::start(&log, &**broker, id, settings, metrics, commands)
}

/// Returns what passes the streams of a listener to the hub.
fn opening(hub: Hub) -> OpenStream {
    Arc::new(move |stream, socket| hub.open(stream, socket))
}

/// Returns the settings of revocations.
fn revocation_settings(config: &Config) -> RevocationSettings {
    RevocationSettings {
        node: config.node.id.clone(),
        interval: config.auth.revocation_interval,
        keep: config.auth.longest_token(),
        limit: config.auth.revocations,
    }
}

/// Returns the regular work on rates and on the audit log.
fn upkeep(rates: Arc<Rates>, audit: Arc<Audit>) -> impl Fn() + Send + 'static {
    move || {
        rates.forget();
        audit.tell();
    }
}

/// Binds the address of a setting. Returns the listener and its address.
fn listen(
    config: &Config,
    setting: &'static str,
    addr: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen { setting, addr, error };
    let listener = listener::bind(addr, config.stream.peer_timeout).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Closes all streams in even waves, and logs the progress.
async fn drain_streams(hub: &Hub, window: Duration) {
    let mut drained = std::pin::pin!(hub.drain(window));
    let mut progress = tokio::time::interval(Duration::from_secs(1));
    loop {
        // The drain is pinned outside the loop, and a lost tick only skips a log event.
        tokio::select! {
            () = &mut drained => return,
            _ = progress.tick() => tracing::info!(streams = hub.connections(), ?window, "closing streams"),
        }
    }
}

#[cfg(test)]
mod tests;
