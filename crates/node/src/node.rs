//! Starts and shuts down a node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use fanfare_api::health::Part;
use fanfare_broker::clock::unix_ms;
use fanfare_broker::session::CloseReason;
use fanfare_broker::subscriber::SubscriberState;
use fanfare_broker::{Broker, EventLog, NodeId, NodeInfo, Outage};
use fanfare_config::drain::DrainConfig;
use fanfare_config::{Config, bytes};
use fanfare_coordination::control::{self, CommandReceiver, ControlTask};
use fanfare_coordination::intake::{Intake, IntakeSettings};
use fanfare_coordination::lease::{LeaseState, LeaseStatus, NodeIdInUse, NodeLease};
use fanfare_coordination::metrics::ClusterMetrics;
use fanfare_coordination::session::{EndStream, SessionSettings, Sessions};
use fanfare_coordination::sweeper::Sweeper;
use fanfare_hub::metrics::HubMetrics;
use fanfare_hub::retry::RetryPolicy;
use fanfare_hub::{Hub, HubSettings};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::address::trusted::TrustedProxies;
use crate::auth::Auth;
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
use crate::listener::{self, Listener};
use crate::memory::{self, Memory};
use crate::rates::Rates;
use crate::rates::metrics::RateMetrics;
use crate::rates::upkeep::Upkeep;
use crate::tls::metrics::TlsMetrics;
use crate::tls::{Tls, TlsError};

/// Timeout for the head of a request on the admin listener, and so its keep-alive timeout. It is short, since the
/// listener has few sockets.
const ADMIN_HEAD: Duration = Duration::from_secs(5);
/// Write timeout on the admin listener.
const ADMIN_WRITE: Duration = Duration::from_secs(10);
/// Time for requests in progress on the admin listener at the end of the shutdown.
const ADMIN_FAREWELL: Duration = Duration::from_millis(500);

/// Memory limit of the admin listener, so that probes are answered even if clients use up `limits.memory`. A quarter of it
/// is for sockets: `admin.sockets` allows as many as fit.
const ADMIN_MEMORY: usize = 32 * 1024 * 1024;

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

/// A running node. Must be shut down: if it is dropped, its tasks run until the process ends.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    drain: DrainConfig,
    draining: Arc<AtomicBool>,
    admissions: Admissions,
    listener: Listener,
    /// The admin listener, which runs until the end of the shutdown.
    admin: Option<Listener>,
    upkeep: Upkeep,
    hub: Hub,
    control: ControlTask,
    intake: Intake,
    sweeper: Sweeper,
    sessions: Sessions,
    lease: NodeLease,
}

impl Node {
    /// Starts a node with checked settings.
    ///
    /// # Errors
    ///
    /// Fails if an address cannot be bound, or if the certificate cannot be loaded.
    pub fn start(config: &Config, broker: Arc<dyn Broker>) -> Result<Self, StartError> {
        Self::start_with(config, broker, Router::new())
    }

    /// Starts a node that also serves `pages`. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// Fails if an address cannot be bound, or if the certificate cannot be loaded.
    pub fn start_with(config: &Config, broker: Arc<dyn Broker>, pages: Router) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let tls = Tls::load(&config.tls, TlsMetrics::register(&mut registry))?;
        let (listener, bound) = listen(config, "node.listen", config.node.listen)?;
        let admin = config.admin.listen.map(|addr| listen(config, "admin.listen", addr)).transpose()?;

        let metrics = Arc::new(HubMetrics::register(&mut registry));
        metrics.max.set(i64::try_from(config.limits.connections).unwrap_or(i64::MAX));
        let cluster = Arc::new(ClusterMetrics::register(&mut registry));
        let http_metrics = HttpMetrics::register(&mut registry);
        let rate_metrics = RateMetrics::register(&mut registry);
        let memory = Memory::new(memory::budget(bytes(config.limits.memory)));
        memory.register(&mut registry);

        let (commands, waiting) = control::queue(&cluster);
        let id = &config.node.id;
        let settings = HubSettings {
            stream: config.stream.clone(),
            max_ephemeral: bytes(config.limits.event_data),
            leave_spread: config.drain.retry_spread,
            sockets_per_user: config.limits.sessions_per_user,
            lingering: config.limits.sockets,
            queues: memory.queues(),
        };
        let log: Arc<dyn EventLog> = broker.clone();
        let hub = Hub::start(&log, &*broker, id, &settings, &metrics, commands);
        let Cluster { control, intake, sweeper, sessions, lease } =
            Cluster::start(config, &broker, &hub, waiting, bound, &cluster);

        let rates = Arc::new(Rates::new(&config.limits, rate_metrics));
        let draining = Arc::new(AtomicBool::new(false));
        let app = Arc::new(App {
            node: id.clone(),
            broker,
            memory: memory.clone(),
            budget: hub.budget(),
            histories: Places::new(config.limits.history_reads, config.limits.history_reads_per_user),
            sessions: sessions.clone(),
            auth: Auth::new(&config.auth),
            limits: config.limits.clone(),
            rates: Arc::clone(&rates),
            proxies: TrustedProxies::of(&config.http),
            gzip: config.stream.gzip,
            retry: RetryPolicy::new(&config.stream, config.drain.retry_spread),
            http: config.http.clone(),
            readiness: readiness(lease.state(), hub.wire(), &draining),
            ignored: crate::http::ignored::Ignored::default(),
            metrics: http_metrics.clone(),
            counts: Counts::new(registry),
        });
        let admissions = Admissions::default();
        let endpoint = StreamEndpoint::new(Arc::clone(&app), hub.clone(), admissions.clone());
        let (allowed, is_open) = (&config.http.allowed_hosts, app.auth.is_open());
        let side = if admin.is_some() { Side::Public } else { Side::Both };
        let hosts = Hosts::new(allowed, config.node.listen, is_open);
        let router = http::router(&app, endpoint, pages, (side, hosts));
        let to_hub = hub.clone();
        let open = Arc::new(move |stream, socket| to_hub.open(stream, socket));
        let listener =
            Listener::start(listener, bound, router, open, (config, tls), (http_metrics.clone(), memory));
        // Metrics and readiness need no token.
        let admin = admin.map(|(listener, bound)| {
            let router = http::admin_router(&app, Hosts::new(allowed, bound, true));
            listen_admin((listener, bound), router, config, http_metrics)
        });
        let drain = config.drain.clone();
        let id = id.clone();
        let upkeep = Upkeep::start(rates);
        Ok(Self {
            id,
            drain,
            draining,
            admissions,
            listener,
            admin,
            upkeep,
            hub,
            control,
            intake,
            sweeper,
            sessions,
            lease,
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
            name = self.lease.node_id_conflict() => MustStop::NodeIdInUse(name),
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
            admissions,
            listener,
            admin,
            upkeep,
            hub,
            control,
            intake,
            sweeper,
            sessions,
            lease,
        } = self;
        draining.store(true, Ordering::Relaxed);
        lease.set_draining(true);
        tracing::info!(node = %id, streams = hub.connections(), notice = ?drain.notice, "draining: readiness set to false");
        tokio::time::sleep(drain.notice).await;
        // Load balancers send new connections to other nodes by now; existing keep-alive connections are closed.
        listener.send_goaway();
        // No stream may be opened after the hub was shut down.
        admissions.wait().await;
        drain_streams(&hub, drain.window).await;
        hub.shutdown(CloseReason::Shutdown).await;
        // Waiting for clients must leave time to release sessions.
        listener.shutdown(begun + drain.deadline * 3 / 4).await;
        tokio::join!(control.shutdown(), intake.shutdown(), sweeper.shutdown(), upkeep.shutdown());
        let left = sessions
            .shutdown((begun + drain.deadline * 7 / 8).saturating_duration_since(Instant::now()))
            .await;
        lease.shutdown().await;
        // Last, so that probes and metrics are served until the end.
        if let Some(admin) = admin {
            admin.shutdown(Instant::now() + ADMIN_FAREWELL).await;
        }
        tracing::info!(node = %id, sessions_left = left, took = ?begun.elapsed(), "shutdown complete");
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

/// Starts the admin listener: clear text, with separate limits and timeouts, and without streams.
fn listen_admin(
    (listener, bound): (TcpListener, SocketAddr),
    router: Router,
    config: &Config,
    metrics: HttpMetrics,
) -> Listener {
    let mut own = config.clone();
    own.limits.sockets = config.admin.sockets;
    // Probes do not come through a proxy.
    own.node.proxy_protocol = false;
    own.limits.sockets_per_address = config.admin.sockets;
    own.http.header_read_timeout = config.http.header_read_timeout.min(ADMIN_HEAD);
    own.stream.write_timeout = config.stream.write_timeout.min(ADMIN_WRITE);
    let none = Arc::new(|_, _| tracing::error!("BUG: a stream was opened on the admin listener"));
    Listener::start(listener, bound, router, none, (&own, None), (metrics, Memory::new(ADMIN_MEMORY)))
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

/// Coordination with other nodes.
struct Cluster {
    control: ControlTask,
    intake: Intake,
    sweeper: Sweeper,
    sessions: Sessions,
    lease: NodeLease,
}

impl Cluster {
    fn start(
        config: &Config,
        broker: &Arc<dyn Broker>,
        hub: &Hub,
        waiting: CommandReceiver,
        bound: SocketAddr,
        metrics: &Arc<ClusterMetrics>,
    ) -> Self {
        let node = &config.node.id;
        let (counted, ended) = (hub.clone(), hub.clone());
        let connections = Arc::new(move || counted.connections() as u64);
        let end: EndStream = Arc::new(move |session, below, reason| ended.end(session, below, reason));
        let info = info(config, bound);
        let lease = NodeLease::start(broker.clone(), info, &config.lease, connections, Arc::clone(metrics));
        let settings = SessionSettings { node: node.clone(), limit: config.limits.sessions_per_user };
        let sessions = Sessions::start(
            broker.clone(),
            broker.clone(),
            settings,
            lease.state(),
            hub.wire(),
            Arc::clone(&end),
            Arc::clone(metrics),
        );
        let control = ControlTask::start(waiting, sessions.clone(), end, Arc::clone(metrics));
        let sweeper =
            Sweeper::start(broker.clone(), node.clone(), &config.lease, lease.state(), Arc::clone(metrics));
        let max_data = bytes(config.limits.event_data);
        let settings = IntakeSettings { node: node.clone(), config: config.intake.clone(), max_data };
        let intake = Intake::start(broker.clone(), settings, Arc::clone(metrics));
        Self { control, intake, sweeper, sessions, lease }
    }
}

fn info(config: &Config, bound: SocketAddr) -> NodeInfo {
    NodeInfo {
        id: config.node.id.clone(),
        incarnation: uuid::Uuid::new_v4().to_string(),
        address: config.node.advertised(bound),
        since: unix_ms(),
        connections: 0,
        draining: false,
    }
}

/// Returns the checks of `/readyz`.
fn readiness(
    lease: watch::Receiver<LeaseState>,
    wire: watch::Receiver<SubscriberState>,
    draining: &Arc<AtomicBool>,
) -> Readiness {
    let (of_broker, of_redis, draining) = (lease.clone(), lease.clone(), Arc::clone(draining));
    Readiness {
        outage: Box::new(move || outage(&of_broker.borrow())),
        redis: Box::new(move || broker(&of_redis.borrow())),
        pubsub: Box::new(move || subscribed(*wire.borrow())),
        lease: Box::new(move || held(&lease.borrow())),
        draining: Box::new(move || Part::when(!draining.load(Ordering::Relaxed), "the node is draining")),
    }
}

/// Returns whether the broker answered the last heartbeat.
fn broker(lease: &LeaseState) -> Part {
    match lease.status {
        LeaseStatus::Starting => Part::wrong("no heartbeat yet"),
        _ => outage(lease).map_or(Part::OK, |outage| Part::wrong(outage.to_string())),
    }
}

/// Returns why the broker did not carry out the last heartbeat, if it did not, or has not answered yet.
fn outage(lease: &LeaseState) -> Option<Outage> {
    match lease.status {
        LeaseStatus::Starting => Some(Outage::NoAnswer),
        _ => lease.outage,
    }
}

fn subscribed(wire: SubscriberState) -> Part {
    let down = "the subscriber connection to Redis is down";
    match wire.outage {
        Some(outage) if !wire.up => Part::wrong(format!("{down}: {outage}")),
        _ => Part::when(wire.up, down),
    }
}

fn held(lease: &LeaseState) -> Part {
    match lease.status {
        LeaseStatus::Waiting => {
            Part::wrong("waiting for the lease of an earlier process with this node.id to expire")
        }
        LeaseStatus::Foreign => Part::wrong("another running process uses this node.id"),
        _ => Part::when(lease.held(), "the node does not hold its lease"),
    }
}

#[cfg(test)]
mod tests;
