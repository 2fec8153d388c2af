//! The admin listener: probes, metrics and calls of operators, apart from clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use fanfare_config::Config;
use tokio::net::TcpListener;

use crate::audit::Audit;
use crate::http::metrics::HttpMetrics;
use crate::listener::{Listener, OpenStream};
use crate::memory::Memory;

/// Timeout for the head of a request on the admin listener, and so its keep-alive timeout. It is short, since the
/// listener has few sockets.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Write timeout on the admin listener.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Memory limit of the admin listener, so that probes are answered even if clients use up `limits.memory`. A quarter of it
/// is for sockets: `admin.sockets` allows as many as fit.
pub(super) const MEMORY: usize = 32 * 1024 * 1024;

/// Starts the admin listener: clear text, with separate limits and timeouts. Its streams are those of operators.
pub(super) fn start(
    (listener, bound): (TcpListener, SocketAddr),
    router: Router,
    open: OpenStream,
    config: &Config,
    (metrics, audit): (HttpMetrics, Arc<Audit>),
) -> Listener {
    let mut own = config.clone();
    own.limits.sockets = config.admin.sockets;
    // Probes do not come through a proxy.
    own.node.proxy_protocol = false;
    own.limits.sockets_per_address = config.admin.sockets;
    own.http.header_read_timeout = config.http.header_read_timeout.min(HEAD_TIMEOUT);
    own.stream.write_timeout = config.stream.write_timeout.min(WRITE_TIMEOUT);
    Listener::start(listener, bound, router, open, (&own, None), (metrics, Memory::new(MEMORY), audit))
}
