//! Accepts sockets and serves HTTP on them, until a stream takes one over.
//!
//! # Layout
//!
//! In the order in which a socket passes through them:
//!
//! - `slots`: limits of sockets without a stream; `turns`: turns of connections that move few bytes
//! - [`handshake`]: the start of a connection: PROXY protocol, TLS, protocol detection
//! - [`proxy_protocol`]: the PROXY protocol header
//! - [`detect`]: HTTP/1.1 or HTTP/2 in clear text, by the first bytes
//! - [`timeout_io`]: the socket with timeouts, a minimum rate and limits; `frames`: limits of HTTP/2 frames
//! - [`http1`]: an HTTP/1.1 connection, until a stream takes over its socket
//! - `linger`: the end of an HTTP/1.1 connection whose client may still send
//! - [`http2`]: an HTTP/2 connection with its requests and streams
//! - [`head`]: the head of a response that hyper does not write
//! - `charge`: memory of requests and responses; `read_ahead`: memory of input that no request has taken yet

mod charge;
pub mod detect;
mod frames;
pub mod handshake;
pub mod head;
pub mod http1;
pub mod http2;
mod linger;
pub mod proxy_protocol;
mod read_ahead;
mod slots;
pub mod timeout_io;
mod turns;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use fanfare_config::{Config, bytes};
use fanfare_hub::stream::{NewStream, Transport};
use fanfare_telemetry::Throttle;
use futures_util::future::OptionFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::handshake::Handshake;
use self::http2::unread::Windows;
use self::slots::{Full, Slots};
use self::timeout_io::Bounds;
use self::turns::Turns;
use crate::address::AddressKey;
use crate::address::Peer;
use crate::address::trusted::TrustedProxies;
use crate::audit::Audit;
use crate::http::metrics::HttpMetrics;
use crate::memory::Memory;
use crate::pace::MinRate;
use crate::tls::Tls;
use crate::tls::renewal::Renewal;

/// Maximum number of connections that the kernel queues until they are accepted. `net.core.somaxconn` may reduce it.
pub const BACKLOG: u32 = 4096;
/// Pause after a failure to accept, for example because the process has no more file descriptors.
const BACK_OFF: Duration = Duration::from_millis(200);
/// Maximum number of unsent bytes in the kernel, in bytes; beyond it the socket is full. With a small value a slow client
/// is detected soon, data waits in the bounded queue (`stream.queue`), and the write timeout runs.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAX_NOT_SENT: u32 = 32 * 1024;
/// Number of keepalive probes. They start after half of the peer timeout.
const PROBES: u32 = 3;

/// Maximum interval between pings of a silent HTTP/2 client.
const FARTHEST_PING: Duration = Duration::from_mins(1);

/// Passes a stream and its socket to the hub. This is [`fanfare_hub::Hub::open`].
pub type OpenStream = Arc<dyn Fn(NewStream, Transport) + Send + Sync>;

/// The accept loop and its connections. Ends when it is shut down.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    /// Connections for several requests accept no new ones.
    goaway: CancellationToken,
    /// No more sockets are accepted; connections end after the request in progress.
    stop: CancellationToken,
    /// Connections end immediately.
    cut: CancellationToken,
    task: JoinHandle<()>,
    connections: TaskTracker,
    /// Calls connections that wait for their turns.
    calls: JoinHandle<()>,
    /// Reloads a renewed certificate, if TLS is enabled.
    renewal: Option<JoinHandle<()>>,
    metrics: HttpMetrics,
}

/// Context shared by all connections of a listener.
pub struct ListenerContext {
    tls: Option<Tls>,
    /// Balancers that may connect, with a PROXY protocol header; `None` if connections begin without one.
    balancers: Option<TrustedProxies>,
    /// The balancers in front of the node.
    proxies: TrustedProxies,
    http1: hyper::server::conn::http1::Builder,
    http2: h2::server::Builder,
    /// Flow control windows of HTTP/2 clients.
    windows: Windows,
    router: Router,
    open: OpenStream,
    /// Slots of sockets without a stream.
    slots: Arc<Slots>,
    turns: Arc<Turns>,
    memory: Memory,
    /// Timeout for the head of a request, and so the idle timeout of a connection.
    head_timeout: Duration,
    /// Timeouts and the minimum rate of clients.
    bounds: Bounds,
    /// Maximum rate of HTTP/2 control frames, per second.
    control_frames: u32,
    /// Time after which a silent HTTP/2 client is pinged, and timeout of its reply.
    ping: (Duration, Duration),
    audit: Arc<Audit>,
    metrics: HttpMetrics,
    goaway: CancellationToken,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl ListenerContext {
    /// Returns the address to which a socket counts; `None` for a balancer, which has many clients.
    fn address_of(&self, peer: SocketAddr) -> Option<AddressKey> {
        (!self.proxies.contains(peer.ip())).then(|| AddressKey::of(peer.ip()))
    }

    /// Counts and logs a socket that was refused.
    fn refuse(&self, full: Full, Peer(peer): Peer) {
        let (counter, setting) = match full {
            Full::Address => (&self.metrics.sockets_refused_address, "limits.sockets_per_address"),
            Full::Node => (&self.metrics.sockets_refused_node, "limits.sockets"),
            Full::Memory => (&self.metrics.sockets_refused_memory, "limits.memory"),
        };
        counter.inc();
        tracing::debug!(%peer, setting, "socket refused");
    }

    /// Counts and logs a connection that was closed by an error.
    fn ended_by(&self, error: &(dyn std::error::Error + 'static), peer: Peer) {
        self.metrics.connection_errors.inc();
        tracing::debug!(error, peer = %peer.0, "connection closed by an error");
    }
}

fn bounds(config: &Config) -> Bounds {
    let write_timeout = config.stream.write_timeout;
    let min_rate = MinRate::new(bytes(config.http.min_rate), config.http.min_rate_window);
    // A client that reads nothing is below any rate.
    Bounds {
        write_timeout,
        peer_timeout: config.stream.peer_timeout,
        min_rate: min_rate.within(write_timeout),
    }
}

/// Binds an address. The kernel closes connections whose peer acknowledges nothing for `peer_timeout`.
///
/// # Errors
///
/// Fails if the address is in use or not available.
pub fn bind(addr: SocketAddr, peer_timeout: Duration) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted node does not wait for old sockets in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    tune(&socket, peer_timeout)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

impl Listener {
    /// Starts to accept connections on a socket that is bound to `addr`. With `tls`, only TLS is accepted.
    pub fn start(
        listener: TcpListener,
        addr: SocketAddr,
        router: Router,
        open: OpenStream,
        (config, tls): (&Config, Option<(Tls, Renewal)>),
        (metrics, memory, audit): (HttpMetrics, Memory, Arc<Audit>),
    ) -> Self {
        let [goaway, stop, cut] = std::array::from_fn(|_| CancellationToken::new());
        let (tls, renewal) = tls.unzip();
        let renewal = renewal.map(|renewal| tokio::spawn(renewal.run(stop.clone())));
        let windows = Windows::new(config);
        let turns = Arc::<Turns>::default();
        let calls = tokio::spawn(Arc::clone(&turns).run());
        let context = Arc::new(ListenerContext {
            tls,
            balancers: config.node.proxy_protocol.then(|| TrustedProxies::of(&config.http)),
            proxies: TrustedProxies::of(&config.http),
            http1: http1::builder(config),
            http2: http2::builder(config, windows),
            windows,
            router,
            open,
            slots: Slots::new(&config.limits, metrics.clone()),
            turns,
            memory,
            head_timeout: config.http.header_read_timeout,
            bounds: bounds(config),
            control_frames: config.limits.control_frames,
            ping: (config.stream.heartbeat.min(FARTHEST_PING), config.stream.peer_timeout),
            audit,
            metrics: metrics.clone(),
            goaway: goaway.clone(),
            stop: stop.clone(),
            cut: cut.clone(),
        });
        let connections = TaskTracker::new();
        let listen = AcceptLoop { listener, context, connections: connections.clone(), failing: false };
        let task = tokio::spawn(listen.run());
        Self { addr, goaway, stop, cut, task, connections, calls, renewal, metrics }
    }

    /// Returns the listen address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends GOAWAY to HTTP/2 clients, so that they open another connection for new requests. Open requests and streams
    /// continue, and the last one closes the connection.
    pub fn send_goaway(&self) {
        self.goaway.cancel();
    }

    /// Stops accepting, closes idle connections, lets requests in progress finish until `deadline`, and closes the
    /// remaining connections.
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
        self.calls.abort();
        if let Err(error) = self.calls.await
            && error.is_panic()
        {
            tracing::error!(%error, "task that calls connections panicked");
        }
        if let Some(Err(error)) = OptionFuture::from(self.renewal).await {
            tracing::error!(%error, "certificate reload task panicked");
        }
    }
}

/// The accept loop.
struct AcceptLoop {
    listener: TcpListener,
    context: Arc<ListenerContext>,
    connections: TaskTracker,
    /// Whether the last attempt failed, so that the recovery is logged.
    failing: bool,
}

impl AcceptLoop {
    async fn run(mut self) {
        let stop = self.context.stop.clone();
        // `accept` is cancel-safe.
        let _ = stop.run_until_cancelled(self.accept()).await;
    }

    /// Accepts sockets, a few in each turn.
    async fn accept(&mut self) {
        loop {
            self.context.turns.take().await;
            for _ in 0..turns::BATCH {
                self.next().await;
            }
        }
    }

    /// Accepts one socket.
    async fn next(&mut self) {
        match self.listener.accept().await {
            Ok((socket, peer)) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("accepting connections again");
                }
                self.serve(socket, peer);
            }
            Err(error) => self.failed(&error).await,
        }
    }

    /// Serves a socket if it gets a slot; otherwise the socket is closed, and the client may connect to another node.
    fn serve(&self, socket: TcpStream, peer: SocketAddr) {
        let context = &self.context;
        context.metrics.accepted.inc();
        let address = context.address_of(peer);
        let account = context.memory.account(address);
        match context.slots.enter(address, &account) {
            Ok(slot) => {
                let used = Arc::clone(slot.activity().used());
                let handshake = Handshake::new(Arc::clone(context), Peer(peer), (slot, account));
                self.connections.spawn(context.turns.connection(used, handshake.run(socket)));
            }
            Err(full) => context.refuse(full, Peer(peer)),
        }
    }

    async fn failed(&mut self, error: &io::Error) {
        static LOG: Throttle = Throttle::of_a_condition();
        self.context.metrics.accept_errors.inc();
        let gone = [
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::Interrupted,
        ];
        if gone.contains(&error.kind()) {
            // Only this client is affected.
            return;
        }
        if LOG.admit().is_some() {
            self.failing = true;
            tracing::error!(%error, "failed to accept a socket (out of file descriptors? check ulimit -n)");
        }
        tokio::time::sleep(BACK_OFF).await;
    }
}

/// Sets options that accepted sockets inherit: small writes are sent at once, and a peer that vanished is detected.
///
/// Keepalive probes are sent only while no data is unacknowledged; unacknowledged data is retransmitted for a quarter of
/// an hour by default. So both are bounded: keepalive, and `TCP_USER_TIMEOUT` (RFC 5482), which starts at the first
/// unacknowledged byte. It also runs from the moment at which a slow peer's window first closed, even if the peer has
/// read since, so it is disabled while a socket is full: then the write timeout applies, which restarts with progress.
fn tune(socket: &TcpSocket, peer_timeout: Duration) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    // Whole seconds, at least 1; the kernel accepts at most 32,767.
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
