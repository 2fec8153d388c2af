//! From the live wire to the connections.
//!
//! SKELETON: the signatures that HTTP and sessions build on.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use fanfare_broker::{Broker, NodeId};
use fanfare_protocol::sse::Format;
use fanfare_protocol::start::From;
use fanfare_protocol::{Channel, SessionId, User};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use crate::config::stream::StreamConfig;
use crate::ending::Ending;
use crate::metrics::Metrics;
use crate::session::Held;

/// A client's connection, once it is ours.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// How the stream's bytes are framed on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// HTTP/1.1 chunks (RFC 9112, section 7.1): a clean end can be told from a broken connection.
    Chunked,
    /// As they are, until the connection closes: HTTP/1.0, and pipes in tests.
    Plain,
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
    /// When the token's time runs out.
    pub expires: Option<SystemTime>,
    /// Whether the client came back with a cursor.
    pub resumed: bool,
    /// Written to the socket before anything else: the head of the HTTP response.
    pub head: Bytes,
    /// How the body is framed.
    pub framing: Framing,
}

/// The state of the live wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireState {
    /// Whether it is connected.
    pub up: bool,
    /// How often it has been connected.
    pub connects: u64,
}

/// The node's hub. Clones are handles of one hub.
#[derive(Clone, Debug)]
pub struct Hub;

impl Hub {
    /// Starts the hub: opens the wire and spawns the writer loops. Commands from the node's control topic go to
    /// `control`; one that finds it full is dropped and counted.
    pub fn start(
        broker: Arc<dyn Broker>,
        node: NodeId,
        settings: StreamConfig,
        metrics: Arc<Metrics>,
        control: mpsc::Sender<Bytes>,
    ) -> Self {
        let _ = (broker, node, settings, metrics, control);
        todo!()
    }

    /// Serves a stream on a socket until one of them ends. An older stream of the same session on this node is
    /// superseded.
    pub fn open(&self, stream: Stream, socket: Box<dyn Socket>) {
        let _ = (stream, socket);
        todo!()
    }

    /// Ends a session's stream on this node, if there is one and its claim's epoch is below `below`.
    pub fn end(&self, session: SessionId, below: u64, ending: Ending) {
        let _ = (session, below, ending);
        todo!()
    }

    /// The state of the wire, and news of it.
    pub fn wire(&self) -> watch::Receiver<WireState> {
        todo!()
    }

    /// How many streams are open.
    pub fn connections(&self) -> usize {
        todo!()
    }

    /// Ends every stream, and then the writer loops and the wire. Waits until all have ended.
    pub async fn shutdown(&self, ending: Ending) {
        let _ = ending;
        todo!()
    }
}
