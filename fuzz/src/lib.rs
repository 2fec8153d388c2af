//! A node that fuzz targets send bytes to as clients do. Everything between the socket and the handlers is the product's code. A panic
//! of any task of the node ends the fuzzer, and so does a node that neither answers nor closes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fanfare_broker::{Broker, MemoryBroker};
use fanfare_config::Config;
use fanfare_config::auth::AuthMode;
use fanfare_node::Node;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Timeout for the node to close a connection whose client has sent everything.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time after which the node ends what a client leaves unfinished.
const SHORT: Duration = Duration::from_millis(50);

/// A node, which runs as long as the process.
struct Target {
    address: SocketAddr,
    _runtime: Runtime,
    _node: Node,
    _sigpipe: Signal,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let mut config = Config::default();
    config.node.listen = ([127, 0, 0, 1], 0).into();
    config.auth.mode = Some(AuthMode::None);
    config.retention.events = 10;
    config.stream.max_age = Duration::from_millis(5);
    config.stream.linger = Duration::from_millis(5);
    config.http.header_read_timeout = SHORT;
    config.http.body_read_timeout = SHORT;
    let limits = &mut config.limits;
    limits.batch_events = 10;
    // A fuzzer is a flood from one address.
    limits.connects_per_second = 0;
    limits.control_frames = 1_000_000;
    limits.address.connects_per_second = 0;
    limits.address.requests_per_second = 0;
    limits.address.events_per_second = 0;
    limits.address.channels_per_second = 0;
    limits.address.idempotency_keys_per_second = 0;
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(config.broker_settings()));
    let runtime = Runtime::new().expect("a runtime");
    let entered = runtime.enter();
    // Rust's `main` ignores SIGPIPE, the fuzzer's does not: a write to a closed connection would end the process.
    let sigpipe = signal(SignalKind::pipe()).expect("a signal handler");
    let node = Node::start(&config, broker).expect("a node starts");
    drop(entered);
    Target { address: node.addr(), _runtime: runtime, _node: node, _sigpipe: sigpipe }
});

/// A client's connection, with the bytes that the node has sent.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects and sends bytes.
    ///
    /// # Panics
    ///
    /// Panics if the node does not listen.
    pub fn send(bytes: &[u8]) -> Self {
        let mut socket = TcpStream::connect(TARGET.address).expect("the node listens");
        // The node may refuse the first of the bytes and close.
        let _ = socket.write_all(bytes);
        Self { socket, received: Vec::new() }
    }

    /// Reads until the node has sent `bytes` or closed, but no longer than the node waits for a client.
    pub fn wait_for(&mut self, bytes: &[u8]) {
        let begun = Instant::now();
        let mut from = 0;
        while begun.elapsed() < 2 * SHORT {
            if self.received[from..].windows(bytes.len()).any(|window| window == bytes) || !self.read(SHORT) {
                return;
            }
            from = self.received.len().saturating_sub(64 * 1024);
        }
    }

    /// Ends the request, and returns everything that the node sends until it closes.
    ///
    /// # Panics
    ///
    /// Panics if the node does not close.
    pub fn finish(mut self) -> Vec<u8> {
        let _ = self.socket.shutdown(Shutdown::Write);
        let begun = Instant::now();
        while self.read(PATIENCE) {
            assert!(begun.elapsed() < PATIENCE, "the node does not close: {:?}", self.text());
        }
        self.received
    }

    /// Reads once. Returns false at the end.
    fn read(&mut self, patience: Duration) -> bool {
        self.socket.set_read_timeout(Some(patience)).expect("a timeout can be set");
        let mut bytes = [0; 16 * 1024];
        match self.socket.read(&mut bytes) {
            Ok(read) => {
                self.received.extend_from_slice(&bytes[..read]);
                read > 0
            }
            // The fuzzer's alarm interrupts what waits.
            Err(error) => {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}
