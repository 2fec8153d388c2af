//! A stream that was let in, on its way from HTTP to the hub.

use std::hash::BuildHasher;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_protocol::sse::Format;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, SessionId, SessionKey, User};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::session::Held;

/// A client's connection, once it is ours.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    /// Returns the descriptor, if what is written to it is what the client gets.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    /// Returns the TCP connection below, if it is this socket's alone.
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }
}

/// Sets how long the peer may leave bytes unacknowledged, or its window closed, before the kernel gives it up; none for as long
/// as the kernel retransmits by default.
pub(crate) fn set_peer_timeout(socket: &(impl Socket + ?Sized), timeout: Option<Duration>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(tcp) = socket.tcp() {
        // It fails on a socket that is broken already, which its next use tells.
        let _ = socket2::SockRef::from(tcp).set_tcp_user_timeout(timeout);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket.tcp(), timeout);
}

impl Socket for TcpStream {
    fn descriptor(&self) -> Option<RawFd> {
        Some(self.as_raw_fd())
    }

    fn tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}

/// A pipe, for tests.
impl Socket for DuplexStream {}

/// What it holds back is not with the client: it must be flushed.
impl<S: Socket> Socket for BufWriter<S> {}

/// How the stream's bytes are framed on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1.1 chunks (RFC 9112, section 7.1): a clean end can be told from a broken connection.
    Chunked,
    /// As they are, until the connection closes: HTTP/1.0, and pipes in tests.
    Plain,
}

/// How the stream's bytes are coded before they are framed (RFC 9110, section 8.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    #[default]
    Identity,
    /// One gzip member (RFC 1952).
    Gzip,
}

/// The identity of a stream on this node: the session of a user, or of a client without a user. What has another identity
/// can neither end nor supersede it, though the session id be the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    user: Option<User>,
    session: SessionId,
}

impl Identity {
    /// Whose reads of logs take turns with those of others: the user's, or those of a client without one.
    pub(crate) fn asker(&self, hash: &impl BuildHasher) -> u64 {
        match &self.user {
            Some(user) => hash.hash_one(user),
            None => hash.hash_one(self.session),
        }
    }

    /// Returns the session's id, to show it to its own client.
    pub fn session(&self) -> SessionId {
        self.session
    }
}

impl std::convert::From<SessionKey> for Identity {
    fn from(SessionKey { user, session }: SessionKey) -> Self {
        Self { user: Some(user), session }
    }
}

/// A stream that was accepted: everything the hub must know to serve it.
#[derive(Debug)]
pub struct Stream {
    /// Whose it is; none without a user.
    pub user: Option<User>,
    /// Which session.
    pub session: SessionId,
    /// The claim, for streams of a user. Given up when the stream ends.
    pub held: Option<Held>,
    /// Each channel once, and where it begins.
    pub channels: Vec<(Channel, From)>,
    /// How events are shown.
    pub format: Format,
    /// How they are coded.
    pub coding: Coding,
    /// When the token's time runs out.
    pub expires: Option<SystemTime>,
    /// The cursor that the client came back with.
    pub cursor: Option<Box<str>>,
    /// Written to the socket before anything else: the head of the HTTP response.
    pub head: Bytes,
    /// How the body is framed.
    pub framing: Framing,
}

impl Stream {
    /// Returns what the stream is known by on this node.
    pub fn identity(&self) -> Identity {
        Identity { user: self.user.clone(), session: self.session }
    }
}
