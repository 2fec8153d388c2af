//! Accepts sockets and serves HTTP on them, until a stream takes one over.
//!
//! # Layout
//!
//! - `slots`: which sockets without a stream may be open
//! - [`connection`]: one socket: TLS, and which HTTP its client speaks
//! - [`proxy_protocol`]: whose bytes a balancer passes on
//! - [`protocol`]: how that is told in clear text
//! - [`http1`]: until a stream takes the socket over
//! - `linger`: the end of one whose client may still send
//! - [`http2`]: all requests and streams of a connection side by side
//! - [`head`]: the head of a response that hyper does not write
//! - `answer`: what requests and answers hold of the node's memory
//! - [`tap`]: the socket as HTTP sees it; `frames`: what an HTTP/2 client sends on it

mod answer;
pub mod connection;
mod frames;
pub mod head;
pub mod http1;
pub mod http2;
mod linger;
pub mod protocol;
pub mod proxy_protocol;
mod slots;
pub mod tap;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::OptionFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Connection;
use self::slots::{Full, Slots};
use self::tap::Bounds;
use crate::address::AddressKey;
use crate::address::Peer;
use crate::address::trusted::TrustedProxies;
use crate::config::{Config, bytes};
use crate::http::metrics::HttpMetrics;
use crate::memory::Memory;
use crate::pace::Floor;
use crate::stream::{Socket, Stream};
use crate::throttle::Throttle;
use crate::tls::Tls;
use crate::tls::renewal::Renewal;

/// How many connections the kernel keeps for us until we accept them. It may be told to keep fewer
/// (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// How long to wait when no socket can be had: others must be closed first.
const BACK_OFF: Duration = Duration::from_millis(200);
/// A socket is full when so much waits in the kernel that the client's window, or the network, does not take yet. So
/// what is behind is told soon, waits where it is bounded (`stream.queue`), and the write time-out runs.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAX_NOT_SENT: u32 = 32 * 1024;
/// How many probes of a silent peer there are. They begin after half of the time that the peer has.
const PROBES: u32 = 3;

/// A silent HTTP/2 client is asked at least so often.
const FARTHEST_PING: Duration = Duration::from_mins(1);

/// What takes a stream and its socket: the hub's `open`.
pub type Open = Arc<dyn Fn(Stream, Box<dyn Socket>) + Send + Sync>;

/// The accept loop and its connections. Ends when it is shut down.
#[derive(Debug)]
pub struct Accept {
    addr: SocketAddr,
    /// Connections that carry several requests take no new ones.
    leave: CancellationToken,
    /// No more sockets; connections end after the request in hand.
    stop: CancellationToken,
    /// Connections end at once.
    cut: CancellationToken,
    task: JoinHandle<()>,
    connections: TaskTracker,
    /// Looks for a renewed certificate, if the node speaks TLS.
    renewal: Option<JoinHandle<()>>,
    metrics: HttpMetrics,
}

/// What all connections have in common.
pub struct Server {
    tls: Option<Tls>,
    /// Those who may connect, with a PROXY protocol header; none if connections begin without one.
    balancers: Option<TrustedProxies>,
    /// The balancers in front of the node.
    proxies: TrustedProxies,
    http1: hyper::server::conn::http1::Builder,
    http2: h2::server::Builder,
    router: Router,
    open: Open,
    /// Of the sockets that carry no stream.
    slots: Arc<Slots>,
    memory: Memory,
    /// How long a client may take for the head of a request, and so how long a connection may be idle.
    head_timeout: Duration,
    /// How long and how slow a client may be.
    bounds: Bounds,
    /// How many frames a second that carry nothing an HTTP/2 client may send.
    control_frames: u32,
    /// When a silent HTTP/2 client is asked whether it is there, and how long it may take to answer.
    ping: (Duration, Duration),
    metrics: HttpMetrics,
    leave: CancellationToken,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl Server {
    /// The address that a socket counts for; none for a balancer, whose clients are many.
    fn address_of(&self, peer: SocketAddr) -> Option<AddressKey> {
        (!self.proxies.contains(peer.ip())).then(|| AddressKey::of(peer.ip()))
    }

    /// A connection ended by an error.
    fn ended_by(&self, error: &(dyn std::error::Error + 'static), peer: Peer) {
        self.metrics.connection_errors.inc();
        tracing::debug!(error, peer = %peer.0, "connection closed by an error");
    }
}

fn bounds(config: &Config) -> Bounds {
    let write_timeout = config.stream.write_timeout;
    let floor = Floor::new(bytes(config.http.min_rate), config.http.min_rate_window);
    // Who takes nothing at all is below any floor.
    Bounds { write_timeout, peer_timeout: config.stream.peer_timeout, floor: floor.within(write_timeout) }
}

/// Listens on an address. A peer that answers nothing for `peer_timeout` is given up.
///
/// # Errors
///
/// When it is in use, or not ours.
pub fn bind(addr: SocketAddr, peer_timeout: Duration) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that is started again does not wait for the old sockets to be forgotten.
    socket.set_reuseaddr(true)?;
    tune(&socket, peer_timeout)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

impl Accept {
    /// Starts to accept on a listener that is bound to `addr`. With `tls` that is all it speaks.
    pub fn start(
        listener: TcpListener,
        addr: SocketAddr,
        router: Router,
        open: Open,
        (config, tls): (&Config, Option<(Tls, Renewal)>),
        (metrics, memory): (HttpMetrics, Memory),
    ) -> Self {
        let [leave, stop, cut] = std::array::from_fn(|_| CancellationToken::new());
        let (tls, renewal) = tls.unzip();
        let renewal = renewal.map(|renewal| tokio::spawn(renewal.run(stop.clone())));
        let server = Arc::new(Server {
            tls,
            balancers: config.node.proxy_protocol.then(|| config.http.proxies()),
            proxies: config.http.proxies(),
            http1: http1::builder(config),
            http2: http2::builder(config),
            router,
            open,
            slots: Slots::new(&config.limits, metrics.clone()),
            memory,
            head_timeout: config.http.header_read_timeout,
            bounds: bounds(config),
            control_frames: config.limits.control_frames,
            ping: (config.stream.heartbeat.min(FARTHEST_PING), config.stream.peer_timeout),
            metrics: metrics.clone(),
            leave: leave.clone(),
            stop: stop.clone(),
            cut: cut.clone(),
        });
        let connections = TaskTracker::new();
        let listen = Listen { listener, server, connections: connections.clone(), failing: false };
        let task = tokio::spawn(listen.run());
        Self { addr, leave, stop, cut, task, connections, renewal, metrics }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Tells clients whose connection carries several requests to make another one for the next (GOAWAY). What is
    /// open goes on, and the last closes the connection.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// Accepts no more, closes idle connections, lets requests in hand finish until `deadline`, and cuts off the
    /// rest.
    pub async fn shutdown(self, deadline: Instant) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "accept task panicked");
        }
        self.connections.close();
        if tokio::time::timeout_at(deadline, self.connections.wait()).await.is_err() {
            let left = self.connections.len();
            tracing::warn!(left, "deadline reached: closing the remaining connections");
            self.metrics.cut.inc_by(left as u64);
            self.cut.cancel();
            self.connections.wait().await;
        }
        if let Some(Err(error)) = OptionFuture::from(self.renewal).await {
            tracing::error!(%error, "certificate reload task panicked");
        }
    }
}

/// The accept loop.
struct Listen {
    listener: TcpListener,
    server: Arc<Server>,
    connections: TaskTracker,
    /// Whether the last try failed, so that a lasting trouble is logged once.
    failing: bool,
}

impl Listen {
    async fn run(mut self) {
        let stop = self.server.stop.clone();
        // Each step of it is cancel-safe: a permit that was had, or nothing.
        let _ = stop.run_until_cancelled(async { while self.next().await {} }).await;
    }

    /// Accepts one socket.
    async fn next(&mut self) -> bool {
        match self.listener.accept().await {
            Ok((socket, peer)) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("accepting connections again");
                }
                self.serve(socket, peer);
            }
            Err(error) => self.failed(&error).await,
        }
        true
    }

    /// Serves a socket if there is room for it. One without is closed: a client that can reach another node does.
    fn serve(&self, socket: TcpStream, peer: SocketAddr) {
        let server = &self.server;
        server.metrics.accepted.inc();
        let address = server.address_of(peer);
        match server.slots.enter(address) {
            Ok(slot) => {
                let account = server.memory.account(address);
                let connection = Connection::new(Arc::clone(server), Peer(peer), (slot, account));
                self.connections.spawn(connection.run(socket));
            }
            Err(full) => {
                let (counter, setting) = match full {
                    Full::Address => (&server.metrics.sockets_refused_address, "limits.sockets_per_address"),
                    Full::Node => (&server.metrics.sockets_refused_node, "limits.sockets"),
                };
                counter.inc();
                tracing::debug!(peer = %peer, setting, "socket refused");
            }
        }
    }

    async fn failed(&mut self, error: &io::Error) {
        static LOG: Throttle = Throttle::of_a_condition();
        self.server.metrics.accept_errors.inc();
        let gone = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::Interrupted,
        ];
        if gone.contains(&error.kind()) {
            // The client's trouble alone.
            return;
        }
        if LOG.admit().is_some() {
            self.failing = true;
            tracing::error!(%error, "failed to accept a socket (out of file descriptors? check ulimit -n)");
        }
        tokio::time::sleep(BACK_OFF).await;
    }
}

/// Small writes leave at once, and a peer that has vanished is noticed. Sockets have this from the one that they were
/// accepted on, which costs no call for each.
///
/// Keepalive probes only while nothing waits to be acknowledged; what waits is retransmitted for a quarter of an hour
/// by default. So both are bounded: keepalive, and `TCP_USER_TIMEOUT` (RFC 5482), which counts from the first byte
/// that is not acknowledged. It also counts the time since a slow peer's window closed first, whatever was taken
/// meanwhile, so it is switched off while a socket is full: then the write time-out counts, which sees progress.
fn tune(socket: &TcpSocket, peer_timeout: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    // Whole seconds, not none, and no more than the kernel takes (32,767).
    let seconds = |time: Duration| time.clamp(Duration::from_secs(1), Duration::from_hours(2));
    let (time, interval) = (seconds(peer_timeout / 2), seconds(peer_timeout / (2 * PROBES)));
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.set_tcp_user_timeout(Some(peer_timeout))?;
        socket.set_tcp_notsent_lowat(MAX_NOT_SENT)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
