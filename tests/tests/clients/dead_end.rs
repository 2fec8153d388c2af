//! A front that closes each connection.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long a head may be.
const HEAD: usize = 64 << 10;

/// Stands where the balancer was: reads each request and closes the connection without an answer.
pub(crate) struct DeadEnd {
    users: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl DeadEnd {
    /// Listens.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap_or_else(|e| panic!("{address}: {e}"));
        let users = Arc::<Mutex<BTreeSet<String>>>::default();
        let met = Arc::clone(&users);
        let task = tokio::spawn(async move {
            let mut visits = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let met = Arc::clone(&met);
                visits.spawn(async move {
                    if let Some(user) = user_of(stream).await {
                        met.lock().unwrap_or_else(PoisonError::into_inner).insert(user);
                    }
                });
            }
        });
        Self { users, task }
    }

    /// Whether this user's client has asked for its stream here.
    pub(crate) fn has_met(&self, user: &str) -> bool {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).contains(user)
    }

    /// Closes the listener.
    pub(crate) async fn close(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Reads a request's head, and the user that its path names.
async fn user_of(mut stream: TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < HEAD {
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8(head).ok()?;
    let rest = head.lines().next()?.split_once("user=")?.1;
    Some(rest.split(['&', ' ']).next()?.to_owned())
}
