//! A stream on its way from HTTP to the hub: what the client asked for, and its socket.

use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fanfare_coordination::revocations::stream_token::StreamToken;
use fanfare_coordination::session::SessionGuard;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Except, SessionId, SessionKey, User};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use crate::dialect::Dialect;

/// Returns whether an error of a socket shows that the client's machine stopped responding.
pub fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    matches!(error.kind(), TimedOut | HostUnreachable | NetworkUnreachable | NetworkDown)
}

/// A client's socket that a stream has taken over.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    /// Returns the file descriptor, if bytes written to it reach the client unchanged.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    /// Returns the TCP connection, if no other stream shares it.
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }
}

/// Sets how long bytes may be unacknowledged, or the peer's window closed, before the kernel closes the connection;
/// `None` is the kernel's default.
pub fn set_peer_timeout(socket: &(impl Socket + ?Sized), timeout: Option<Duration>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(tcp) = socket.tcp() {
        // Fails only on a broken socket, whose next use fails too.
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

/// Framing of the body on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1.1 chunks (RFC 9112, section 7.1), which distinguish a clean end from a broken connection.
    Chunked,
    /// No framing, until the connection closes: HTTP/1.0, and pipes in tests.
    Plain,
}

/// Version of HTTP by which a stream came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// Returns the name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Content coding of the body (RFC 9110, section 8.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// No coding.
    #[default]
    Identity,
    /// One gzip member (RFC 1952).
    Gzip,
}

/// The identity of a stream on this node: the session of a user, or of a client without a user. A stream with another
/// identity can neither end nor supersede it, even with the same session id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    user: Option<User>,
    session: SessionId,
}

impl Identity {
    /// Returns the key by which log reads take turns: that of the user, or of a client without a user.
    pub(crate) fn requester(&self, hash: &impl BuildHasher) -> u64 {
        match &self.user {
            Some(user) => hash.hash_one(user),
            None => hash.hash_one(self.session),
        }
    }

    /// Returns the user, if there is one.
    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Returns whether this is the session that does not get an event. Without the user, an id would name other users'
    /// sessions, too.
    pub(crate) fn is(&self, except: &Except) -> bool {
        self.session == except.session && self.user == except.user
    }

    /// Returns the session id, which is sent to the client.
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }
}

impl std::convert::From<SessionKey> for Identity {
    fn from(SessionKey { user, session }: SessionKey) -> Self {
        Self { user: Some(user), session }
    }
}

/// An admitted stream, before it has its socket: what the client asked for.
#[derive(Debug)]
pub struct NewStream {
    /// When the request began.
    pub begun: Instant,
    /// The user, if there is one.
    pub user: Option<User>,
    /// The session id.
    pub session: SessionId,
    /// The claim, for streams of a user. Released when the stream ends.
    pub held: Option<SessionGuard>,
    /// Each channel once, with its start.
    pub channels: Vec<(Channel, StartAt)>,
    /// The text that the client receives.
    pub dialect: Dialect,
    /// Content coding.
    pub coding: Coding,
    /// Expiry of the token.
    pub expires: Option<SystemTime>,
    /// The token, if it can be revoked.
    pub token: Option<StreamToken>,
    /// The cursor that the client sent.
    pub cursor: Option<Box<str>>,
    /// Heartbeat that the client asks for; [`StreamConfig::heartbeat_of`] decides.
    ///
    /// [`StreamConfig::heartbeat_of`]: fanfare_config::stream::StreamConfig::heartbeat_of
    pub heartbeat: Option<Duration>,
    /// For a long poll, how long it waits for a first event. The stream ends by itself once the client has an answer.
    pub wait: Option<Duration>,
}

impl NewStream {
    /// Returns the identity of the stream on this node.
    pub(crate) fn identity(&self) -> Identity {
        Identity { user: self.user.clone(), session: self.session }
    }
}

/// The way to a stream's client: the socket, and what the listener knows of it.
pub struct Transport {
    /// The client's socket.
    pub socket: Box<dyn Socket>,
    /// Framing of the body.
    pub framing: Framing,
    /// The head of the HTTP response, written to the socket first; empty if it was written already.
    pub head: Bytes,
    /// Version of HTTP.
    pub protocol: Protocol,
}

impl Transport {
    /// Creates a transport without framing whose head was written already.
    pub fn plain(socket: impl Socket + 'static) -> Self {
        Self {
            socket: Box::new(socket),
            framing: Framing::Plain,
            head: Bytes::new(),
            protocol: Protocol::default(),
        }
    }
}
