//! Puts a node together, and takes it apart again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use bytes::Bytes;
use fanfare_broker::{Broker, NodeId, NodeInfo};
use fanfare_protocol::SessionKey;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::accept::{self, Accept};
use crate::auth::Auth;
use crate::config::drain::DrainConfig;
use crate::config::{Config, bytes};
use crate::control::ControlTask;
use crate::ending::Ending;
use crate::http;
use crate::http::Side;
use crate::http::app::App;
use crate::http::counts::Counts;
use crate::http::events::Door;
use crate::http::handover::Openings;
use crate::http::health::{Health, Part};
use crate::http::hosts::Hosts;
use crate::http::metrics::HttpMetrics;
use crate::http::overload::Retries;
use crate::http::places::Places;
use crate::hub::{Hub, HubSettings};
use crate::intake::{Intake, IntakeSettings};
use crate::lease::{LeaseState, NameInUse, NodeLease, Standing};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::metrics::cluster::ClusterMetrics;
use crate::rates::Rates;
use crate::rates::upkeep::Upkeep;
use crate::session::{End, SessionSettings, Sessions};
use crate::sweeper::Sweeper;
use crate::tls::{Tls, TlsError};
use fanfare_broker::wire::WireState;

/// How many commands of other nodes may wait; more are dropped and counted.
const CONTROL_QUEUE: usize = 1024;

/// How long a client of the admin listener may take for the head of a request, and so how long its connection may be
/// idle: few sockets are open there, and those that wait are probes.
const ADMIN_HEAD: Duration = Duration::from_secs(5);
/// How long such a client may take nothing of an answer.
const ADMIN_WRITE: Duration = Duration::from_secs(10);
/// How long requests in hand there may take when the node has left.
const ADMIN_FAREWELL: Duration = Duration::from_millis(500);

/// How many bytes its requests and answers may hold: probes are answered also when clients hold all of
/// `limits.memory`.
const ADMIN_MEMORY: usize = 32 * 1024 * 1024;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or not ours.
    #[error("cannot listen on {addr} ({setting}): {error}")]
    Listen {
        /// `node.listen` or `admin.listen`.
        setting: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The certificate's files have changed since the settings were checked, or TLS cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The node was not done when its time was over (`drain.deadline`). What was left ends with the process.
#[derive(Debug, thiserror::Error)]
#[error("shutdown did not complete within {0:?} (drain.deadline)")]
pub struct TooLate(Duration);

/// Why a node cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MustStop {
    /// Another live process has its name.
    #[error(transparent)]
    Name(NameInUse),
    /// A part of it broke, by a fault of ours: whoever started it should start it again.
    #[error("a shard task panicked; see the log")]
    Broken,
}

/// A running node. Must be shut down; dropping it leaves tasks behind until the process ends.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    drain: DrainConfig,
    draining: Arc<AtomicBool>,
    openings: Openings,
    accept: Accept,
    /// For probes, metrics and operators, until the very end.
    admin: Option<Accept>,
    upkeep: Upkeep,
    hub: Hub,
    control: ControlTask,
    intake: Intake,
    sweeper: Sweeper,
    sessions: Sessions,
    lease: NodeLease,
}

impl Node {
    /// Starts a node from settings that were checked.
    ///
    /// # Errors
    ///
    /// Fails if it cannot listen, or has no certificate.
    pub fn start(config: &Config, broker: Arc<dyn Broker>) -> Result<Self, StartError> {
        Self::start_with(config, broker, Router::new())
    }

    /// Starts a node that also serves somebody else's `pages`. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// Fails if it cannot listen, or has no certificate.
    pub fn start_with(config: &Config, broker: Arc<dyn Broker>, pages: Router) -> Result<Self, StartError> {
        let tls = Tls::load(&config.tls)?;
        let (listener, bound) = listen(config, "node.listen", config.node.listen)?;
        let admin = config.admin.listen.map(|addr| listen(config, "admin.listen", addr)).transpose()?;

        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        metrics.max.set(i64::try_from(config.limits.connections).unwrap_or(i64::MAX));
        let cluster = Arc::new(ClusterMetrics::register(&mut registry));
        let http_metrics = HttpMetrics::register(&mut registry);
        let memory = Memory::new(bytes(config.limits.memory));
        memory.register(&mut registry);

        let (commands, received) = mpsc::channel(CONTROL_QUEUE);
        let id = &config.node.id;
        let settings = HubSettings {
            stream: config.stream.clone(),
            max_ephemeral: bytes(config.limits.event_data),
            leave_spread: config.drain.retry_spread,
            sockets_per_user: config.limits.sessions_per_user,
            lingering: config.limits.sockets,
            memory: memory.clone(),
        };
        let hub = Hub::start(&broker, id, &settings, &metrics, commands);
        let Cluster { control, intake, sweeper, sessions, lease } =
            Cluster::start(config, &broker, &hub, received, bound, &cluster);

        let rates = Arc::new(Rates::new(&config.limits, http_metrics.clone()));
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
            proxies: config.http.proxies(),
            gzip: config.stream.gzip,
            retries: Retries { stream: config.stream.clone(), leave_spread: config.drain.retry_spread },
            http: config.http.clone(),
            health: health(lease.state(), hub.wire(), &draining),
            ignored: crate::http::ignored::Ignored::default(),
            metrics: http_metrics.clone(),
            counts: Counts::new(registry),
        });
        let openings = Openings::default();
        let door = Door::new(Arc::clone(&app), hub.clone(), openings.clone());
        let (allowed, is_open) = (&config.http.allowed_hosts, app.auth.is_open());
        let side = if admin.is_some() { Side::Public } else { Side::Both };
        let hosts = Hosts::new(allowed, config.node.listen, is_open);
        let router = http::router(&app, door, pages, (side, hosts));
        let to_hub = hub.clone();
        let open = Arc::new(move |stream, socket| to_hub.open(stream, socket));
        let accept =
            Accept::start(listener, bound, router, open, (config, tls), (http_metrics.clone(), memory));
        // Metrics and readiness need no token.
        let admin = admin.map(|(listener, bound)| {
            let router = http::admin_router(&app, Hosts::new(allowed, bound, true));
            accept_admin((listener, bound), router, config, http_metrics)
        });
        let drain = config.drain.clone();
        let id = id.clone();
        let upkeep = Upkeep::start(rates);
        Ok(Self {
            id,
            drain,
            draining,
            openings,
            accept,
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

    /// Returns where probes, metrics and admin calls are served, if not where everything is.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Accept::addr)
    }

    /// Returns where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.accept.addr()
    }

    /// Returns its name.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// Waits, for ever if need be, until the node cannot go on. It must be shut down then.
    pub async fn must_stop(&self) -> MustStop {
        // Both only look.
        tokio::select! {
            name = self.lease.lost_name() => MustStop::Name(name),
            () = self.hub.broken() => MustStop::Broken,
        }
    }

    /// Leaves: not ready, a while for the load balancer to notice, each stream sent away in its wave, requests in
    /// hand finished, sessions and lease given up.
    ///
    /// # Errors
    ///
    /// Fails if that took longer than `drain.deadline`.
    pub async fn shutdown(self) -> Result<(), TooLate> {
        let limit = self.drain.deadline;
        let begun = Instant::now();
        tokio::time::timeout_at(begun + limit, self.leave(begun)).await.map_err(|_| TooLate(limit))
    }

    async fn leave(self, begun: Instant) {
        let Self {
            id,
            drain,
            draining,
            openings,
            accept,
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
        // From here on the balancer sends new connections elsewhere, and those that there are should follow.
        accept.leave();
        // The hub must not be given a stream after it was shut down.
        openings.wait().await;
        send_away(&hub, drain.window).await;
        hub.shutdown(Ending::Shutdown).await;
        // What clients make us wait for leaves time for what the cluster must know.
        accept.shutdown(begun + drain.deadline * 3 / 4).await;
        tokio::join!(control.shutdown(), intake.shutdown(), sweeper.shutdown(), upkeep.shutdown());
        let left = sessions
            .shutdown((begun + drain.deadline * 7 / 8).saturating_duration_since(Instant::now()))
            .await;
        lease.shutdown().await;
        // Last, so that probes and metrics are answered to the end of the drain.
        if let Some(admin) = admin {
            admin.shutdown(Instant::now() + ADMIN_FAREWELL).await;
        }
        tracing::info!(node = %id, sessions_left = left, took = ?begun.elapsed(), "shutdown complete");
    }
}

/// Listens on the address of a setting. Returns the listener and its address.
fn listen(
    config: &Config,
    setting: &'static str,
    addr: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen { setting, addr, error };
    let listener = accept::bind(addr, config.stream.peer_timeout).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Starts to accept on the admin listener: in clear text, with sockets and times of its own, and no streams.
fn accept_admin(
    (listener, bound): (TcpListener, SocketAddr),
    router: Router,
    config: &Config,
    metrics: HttpMetrics,
) -> Accept {
    let mut own = config.clone();
    own.limits.sockets = config.admin.sockets;
    // Probes come from where they come.
    own.node.proxy_protocol = false;
    own.limits.sockets_per_address = config.admin.sockets;
    own.http.header_read_timeout = config.http.header_read_timeout.min(ADMIN_HEAD);
    own.stream.write_timeout = config.stream.write_timeout.min(ADMIN_WRITE);
    let none = Arc::new(|_, _| tracing::error!("BUG: a stream was opened on the admin listener"));
    Accept::start(listener, bound, router, none, (&own, None), (metrics, Memory::new(ADMIN_MEMORY)))
}

/// Ends all streams in even waves, and tells how far it is.
async fn send_away(hub: &Hub, window: Duration) {
    let mut drained = std::pin::pin!(hub.drain(window));
    let mut progress = tokio::time::interval(Duration::from_secs(1));
    loop {
        // A drain under way is held by reference, and a tick that is lost is only a line of the log.
        tokio::select! {
            () = &mut drained => return,
            _ = progress.tick() => tracing::info!(streams = hub.connections(), ?window, "closing streams"),
        }
    }
}

/// What makes a node one of several.
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
        commands: mpsc::Receiver<Bytes>,
        bound: SocketAddr,
        metrics: &Arc<ClusterMetrics>,
    ) -> Self {
        let node = &config.node.id;
        let (counted, ended) = (hub.clone(), hub.clone());
        let connections = Arc::new(move || counted.connections() as u64);
        let end: End = Arc::new(move |session, below, ending| ended.end(session, below, ending));
        let info = info(config, bound);
        let lease =
            NodeLease::start(Arc::clone(broker), info, &config.lease, connections, Arc::clone(metrics));
        let settings = SessionSettings { node: node.clone(), limit: config.limits.sessions_per_user };
        let sessions = Sessions::start(
            Arc::clone(broker),
            settings,
            lease.state(),
            hub.wire(),
            Arc::clone(&end),
            Arc::clone(metrics),
        );
        let held = sessions.clone();
        let supersede = Arc::new(move |session: &SessionKey, epoch| held.supersede(session, epoch));
        let control = ControlTask::start(commands, supersede, end, Arc::clone(metrics));
        let sweeper = Sweeper::start(
            Arc::clone(broker),
            node.clone(),
            &config.lease,
            lease.state(),
            Arc::clone(metrics),
        );
        let max_data = bytes(config.limits.event_data);
        let settings = IntakeSettings { node: node.clone(), config: config.intake.clone(), max_data };
        let intake = Intake::start(Arc::clone(broker), settings, Arc::clone(metrics));
        Self { control, intake, sweeper, sessions, lease }
    }
}

fn info(config: &Config, bound: SocketAddr) -> NodeInfo {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    NodeInfo {
        id: config.node.id.clone(),
        incarnation: uuid::Uuid::new_v4().to_string(),
        address: config.node.advertised(bound),
        since: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        connections: 0,
        draining: false,
    }
}

/// Returns what `/readyz` looks at.
fn health(
    lease: watch::Receiver<LeaseState>,
    wire: watch::Receiver<WireState>,
    draining: &Arc<AtomicBool>,
) -> Health {
    let (heard, draining) = (lease.clone(), Arc::clone(draining));
    Health {
        redis: Box::new(move || broker(&heard.borrow())),
        pubsub: Box::new(move || Part::when(wire.borrow().up, "the subscriber connection to Redis is down")),
        lease: Box::new(move || held(&lease.borrow())),
        draining: Box::new(move || Part::when(!draining.load(Ordering::Relaxed), "the node is draining")),
    }
}

/// Returns whether the broker answered the last heartbeat.
fn broker(lease: &LeaseState) -> Part {
    match lease.standing {
        Standing::Starting | Standing::Away => Part::wrong(lease.why.to_string()),
        Standing::Waiting | Standing::Held | Standing::Foreign => Part::OK,
    }
}

fn held(lease: &LeaseState) -> Part {
    match lease.standing {
        Standing::Waiting => {
            Part::wrong("waiting for the lease of an earlier process with this node.id to expire")
        }
        Standing::Foreign => Part::wrong("another running process uses this node.id"),
        _ => Part::when(lease.held(), "the node does not hold its lease"),
    }
}

#[cfg(test)]
mod tests;
