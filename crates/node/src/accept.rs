//! Accepts sockets and serves HTTP on them, until a stream takes one over.
//!
//! # Layout
//!
//! - [`connection`]: one socket, from accept to its end or the hub
//! - [`head`]: the head of a response that hyper does not write
//! - [`tap`]: the socket as hyper sees it

pub mod connection;
pub mod head;
pub mod tap;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::Connection;
use crate::config::{Config, bytes};
use crate::http::metrics::HttpMetrics;
use crate::stream::{Socket, Stream};

/// How many connections the kernel keeps for us until we accept them. It may be told to keep fewer
/// (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;
/// How long to wait when no socket can be had: others must be closed first.
const BACK_OFF: Duration = Duration::from_millis(200);
/// A silent peer is asked whether it is there after so long, then so often, and so many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(1), Duration::from_secs(15), 4);

/// The client's address, as an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What takes a stream and its socket: the hub's `open`.
pub type Open = Arc<dyn Fn(Stream, Box<dyn Socket>) + Send + Sync>;

/// The accept loop and its connections. Ends when it is shut down.
#[derive(Debug)]
pub struct Accept {
    addr: SocketAddr,
    /// No more sockets; connections end after the request in hand.
    stop: CancellationToken,
    /// Connections end at once.
    cut: CancellationToken,
    task: JoinHandle<()>,
    connections: TaskTracker,
    metrics: HttpMetrics,
}

/// What all connections have in common.
pub struct Server {
    http: http1::Builder,
    router: Router,
    open: Open,
    /// How long a client may take nothing of an answer.
    write_timeout: Duration,
    metrics: HttpMetrics,
    stop: CancellationToken,
    cut: CancellationToken,
}

/// Listens on an address.
///
/// # Errors
///
/// When it is in use, or not ours.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that is started again does not wait for the old sockets to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

impl Accept {
    /// Starts to accept on a listener that is bound to `addr`.
    pub fn start(
        listener: TcpListener,
        addr: SocketAddr,
        router: Router,
        open: Open,
        config: &Config,
        metrics: HttpMetrics,
    ) -> Self {
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(config.http.header_read_timeout)
            .max_buf_size(bytes(config.limits.head_bytes));
        let server = Arc::new(Server {
            http,
            router,
            open,
            write_timeout: config.stream.write_timeout,
            metrics: metrics.clone(),
            stop: stop.clone(),
            cut: cut.clone(),
        });
        let connections = TaskTracker::new();
        let sockets = Arc::new(Semaphore::new(config.limits.sockets));
        let listen = Listen { listener, server, sockets, connections: connections.clone(), failing: false };
        let task = tokio::spawn(listen.run());
        Self { addr, stop, cut, task, connections, metrics }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts no more, closes idle connections, lets requests in hand finish until `deadline`, and cuts off the rest.
    pub async fn shutdown(self, deadline: Instant) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the accept loop broke");
        }
        self.connections.close();
        if tokio::time::timeout_at(deadline, self.connections.wait()).await.is_err() {
            let left = self.connections.len();
            tracing::warn!(left, "connections are cut off at the deadline");
            self.metrics.cut.inc_by(left as u64);
            self.cut.cancel();
            self.connections.wait().await;
        }
    }
}

/// The accept loop.
struct Listen {
    listener: TcpListener,
    server: Arc<Server>,
    /// One permit for each socket that is not a stream's.
    sockets: Arc<Semaphore>,
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
        let Some(permit) = self.permit().await else { return false };
        match self.listener.accept().await {
            Ok((socket, peer)) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("sockets are accepted again");
                }
                self.serve(socket, peer, permit);
            }
            Err(error) => self.failed(&error).await,
        }
        true
    }

    /// Room for one more socket. Until there is, clients wait in the kernel's queue.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.sockets).try_acquire_owned() {
            return Some(permit);
        }
        self.server.metrics.accept_waits.inc();
        tracing::debug!("too many sockets are open; the next one waits (limits.sockets)");
        Arc::clone(&self.sockets).acquire_owned().await.ok()
    }

    fn serve(&self, socket: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        self.server.metrics.accepted.inc();
        if let Err(error) = tune(&socket) {
            // It is gone already, or it works all the same.
            tracing::debug!(%error, %peer, "a socket could not be tuned");
        }
        let connection = Connection::new(Arc::clone(&self.server), Peer(peer), permit);
        self.connections.spawn(connection.run(socket));
    }

    async fn failed(&mut self, error: &io::Error) {
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
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, "no socket can be accepted now (too few file descriptors? see ulimit -n)");
        }
        tokio::time::sleep(BACK_OFF).await;
    }
}

/// Small writes leave at once, and a peer that has vanished is noticed.
fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (time, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests;
