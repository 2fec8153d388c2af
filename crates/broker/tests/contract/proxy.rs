//! A network between a broker and its Redis that can be broken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Passes connections on to a port. Ends when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    /// Where new connections lead.
    to: AtomicU16,
    /// Whether bytes pass: without, connections stay open and silent.
    open: AtomicBool,
    opened: Notify,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { to: port.into(), open: AtomicBool::new(true), opened: Notify::new() });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Leads new connections elsewhere; those that are open stay.
    pub(crate) fn lead_to(&self, port: u16) {
        self.shared.to.store(port, Ordering::SeqCst);
    }

    /// Holds every byte back, without closing anything.
    pub(crate) fn part(&self) {
        self.shared.open.store(false, Ordering::SeqCst);
    }

    pub(crate) fn join(&self) {
        self.shared.open.store(true, Ordering::SeqCst);
        self.shared.opened.notify_waiters();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let port = shared.to.load(Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        connections.spawn(pass(from_client, to_server, Arc::clone(&shared)));
        connections.spawn(pass(from_server, to_client, Arc::clone(&shared)));
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        loop {
            let opened = shared.opened.notified();
            if shared.open.load(Ordering::SeqCst) {
                break;
            }
            opened.await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
