//! The start of a connection: the PROXY protocol header, if it is required; TLS, if it is enabled; detection of HTTP/1.1
//! or HTTP/2.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use fanfare_hub::stream::Socket;
use fanfare_telemetry::Throttle;
use http::HeaderMap;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::detect::{self, Protocol};
use super::frames::Meter;
use super::slots::Slot;
use super::timeout_io::TimeoutIo;
use super::{ListenerContext, http1, http2, proxy_protocol};
use crate::address::Peer;
use crate::address::trusted::TrustedProxies;
use crate::audit::call::Call;
use crate::memory::{self, Account};
use crate::tls::{self, clients};

/// One accepted socket.
pub(super) struct Handshake {
    context: Arc<ListenerContext>,
    peer: Peer,
    slot: Slot,
    account: Account,
}

impl Handshake {
    pub(super) fn new(context: Arc<ListenerContext>, peer: Peer, (slot, account): (Slot, Account)) -> Self {
        Self { context, peer, slot, account }
    }

    /// Serves requests until the connection ends or a stream takes the socket.
    pub(super) async fn run(mut self, mut socket: TcpStream) {
        let context = Arc::clone(&self.context);
        if let Some(balancers) = &context.balancers {
            match self.read_proxy_header(balancers, &mut socket).await {
                Some(peer) => self.peer = peer,
                None => return,
            }
        }
        match self.context.tls.clone() {
            None => self.run_clear(socket).await,
            // Boxed, since this future is much larger and not needed without TLS.
            Some(tls) if self.grow(memory::TLS) => Box::pin(self.run_tls(tls, socket)).await,
            Some(_) => {}
        }
    }

    /// Reads the PROXY protocol header. Returns the client that it names, or `None` if a trusted balancer sends none.
    async fn read_proxy_header(&self, balancers: &TrustedProxies, socket: &mut TcpStream) -> Option<Peer> {
        static LOG: Throttle = Throttle::of_a_condition();
        let Peer(balancer) = self.peer;
        let named = if balancers.contains(balancer.ip()) {
            self.in_time(proxy_protocol::read(socket)).await?
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer is not a trusted proxy"))
        };
        match named {
            Ok(client) => return Some(client.map_or(self.peer, Peer)),
            // The balancer only checks whether the port is open.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => {
                self.context.metrics.proxy_headers_refused.inc();
                if let Some(held_back) = LOG.admit() {
                    tracing::warn!(
                        %error,
                        peer = %balancer,
                        held_back,
                        "refused connection: no PROXY protocol header from a trusted proxy \
                         (node.proxy_protocol, http.trusted_proxies)"
                    );
                }
            }
        }
        None
    }

    async fn run_clear(self, mut socket: TcpStream) {
        let Some(detected) = self.in_time(detect::detect(&mut socket)).await else { return };
        match detected {
            Ok((protocol, first)) => self.serve(socket, protocol, first).await,
            Err(error) => self.context.ended_by(&error, self.peer),
        }
    }

    async fn run_tls(self, tls: tls::Tls, socket: TcpStream) {
        let Some(accepted) = self.in_time(tls.accept(socket)).await else { return };
        match accepted {
            Ok(socket) => {
                let protocol = if tls::is_http2(&socket) { Protocol::Http2 } else { Protocol::Http1 };
                self.serve(socket, protocol, BytesMut::new()).await;
            }
            Err(error) => {
                self.context.metrics.handshake_errors.inc();
                tracing::debug!(%error, peer = %self.peer.0, "TLS handshake failed");
                if let Some(why) = clients::refusal(&error) {
                    self.refuse_certificate(&why);
                }
            }
        }
    }

    /// Counts and logs a client that was refused because of its certificate.
    fn refuse_certificate(&self, why: &str) {
        self.context.metrics.client_certificates_refused.inc();
        let peer = self.peer.0.ip();
        let address = self.context.proxies.client(peer, &HeaderMap::new());
        self.context.audit.refuse_connection(&Call::of_connection(address, peer), why);
    }

    /// Runs a step before the first request, within the timeout for a head. Returns `None` if the node shuts down or the
    /// socket loses its slot first: then the connection ends without a response.
    async fn in_time<T>(&self, step: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
        let until = Instant::now() + self.context.head_timeout;
        let step = timeout_at(until, step);
        let step = self.context.stop.run_until_cancelled(step);
        // In every case but the first, the connection ends.
        let done = tokio::select! {
            done = step => done?,
            () = self.slot.activity().evicted() => return None,
        };
        Some(done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
    }

    /// Reserves memory for the client's protocol. Returns whether there is enough; if not, the socket counts as refused.
    fn grow(&self, bytes: usize) -> bool {
        self.slot.grow(bytes).map_err(|full| self.context.refuse(full, self.peer)).is_ok()
    }

    async fn serve<IO: Socket + 'static>(self, socket: IO, protocol: Protocol, first: BytesMut) {
        if protocol == Protocol::Http2 && !self.grow(memory::HTTP2) {
            return;
        }
        let Self { context, peer, slot, account } = self;
        let meter = (protocol == Protocol::Http2).then(|| Meter::new(context.control_frames));
        let watched = (Arc::clone(slot.activity()), &account);
        let io = TimeoutIo::new(socket, first, watched, meter, context.bounds);
        let holds = (slot, account);
        match protocol {
            Protocol::Http1 => http1::serve(context, peer, holds, io).await,
            Protocol::Http2 => Box::pin(http2::serve(context, peer, holds, io)).await,
        }
    }
}
