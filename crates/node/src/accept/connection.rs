//! One socket: the balancer's word on whose it is, if it must begin with that; TLS if the node speaks it, then the
//! HTTP that the client speaks.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::frames::Meter;
use super::protocol::{self, Protocol};
use super::slots::Slot;
use super::tap::Tap;
use super::{Server, http1, http2, proxy_protocol};
use crate::address::Peer;
use crate::address::trusted::TrustedProxies;
use crate::memory::Account;
use crate::stream::Socket;
use crate::throttle::Throttle;
use crate::tls;

/// One accepted socket.
pub(super) struct Connection {
    server: Arc<Server>,
    peer: Peer,
    slot: Slot,
    account: Account,
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, peer: Peer, (slot, account): (Slot, Account)) -> Self {
        Self { server, peer, slot, account }
    }

    /// Serves requests until the connection ends or a stream takes the socket.
    pub(super) async fn run(mut self, mut socket: TcpStream) {
        let server = Arc::clone(&self.server);
        if let Some(balancers) = &server.balancers {
            match self.named_by(balancers, &mut socket).await {
                Some(peer) => self.peer = peer,
                None => return,
            }
        }
        match self.server.tls.clone() {
            None => self.run_clear(socket).await,
            // Much larger, and not for those who do not need it.
            Some(tls) => Box::pin(self.run_tls(tls, socket)).await,
        }
    }

    /// The client that a balancer names before anything else. None if no trusted one does.
    async fn named_by(&self, balancers: &TrustedProxies, socket: &mut TcpStream) -> Option<Peer> {
        static LOG: Throttle = Throttle::of_a_condition();
        let Peer(balancer) = self.peer;
        let named = if balancers.contains(balancer.ip()) {
            self.in_time(proxy_protocol::read(socket)).await?
        } else {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer is not a trusted proxy"))
        };
        match named {
            Ok(client) => return Some(client.map_or(self.peer, Peer)),
            // A balancer that only looks whether someone listens.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => {
                self.server.metrics.proxy_headers_refused.inc();
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
        let Some(told) = self.in_time(protocol::tell(&mut socket)).await else { return };
        match told {
            Ok((protocol, first)) => self.serve(socket, protocol, first).await,
            Err(error) => self.server.ended_by(&error, self.peer),
        }
    }

    async fn run_tls(self, tls: tls::Tls, socket: TcpStream) {
        let Some(shaken) = self.in_time(tls.accept(socket)).await else { return };
        match shaken {
            Ok(socket) => {
                let protocol = if tls::is_http2(&socket) { Protocol::Http2 } else { Protocol::Http1 };
                self.serve(socket, protocol, BytesMut::new()).await;
            }
            Err(error) => {
                self.server.metrics.handshake_errors.inc();
                tracing::debug!(%error, peer = %self.peer.0, "TLS handshake failed");
            }
        }
    }

    /// What a client does before its first request, in the time that it has for that. None if the node leaves first,
    /// or its slot is given to another: nothing was asked yet.
    async fn in_time<T>(&self, step: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
        let until = Instant::now() + self.server.head_timeout;
        let step = timeout_at(until, step);
        let step = self.server.stop.run_until_cancelled(step);
        // The connection ends in any case but the first.
        let done = tokio::select! {
            done = step => done?,
            () = self.slot.activity().evicted() => return None,
        };
        Some(done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
    }

    async fn serve<IO: Socket + 'static>(self, socket: IO, protocol: Protocol, first: BytesMut) {
        let Self { server, peer, slot, account } = self;
        let meter = (protocol == Protocol::Http2).then(|| Meter::new(server.control_frames));
        let watched = (Arc::clone(slot.activity()), &account);
        let tap = Tap::new(socket, first, watched, meter, server.bounds);
        let holds = (slot, account);
        match protocol {
            Protocol::Http1 => http1::serve(server, peer, holds, tap).await,
            Protocol::Http2 => Box::pin(http2::serve(server, peer, holds, tap)).await,
        }
    }
}
