//! What a node prints: where it listens, and its log.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

/// How much of a node's log is kept, in bytes.
const MAX_LOG: usize = 1 << 20;

/// Where a node says that it listens: for admin calls first, if that is another place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listening {
    Admin(SocketAddr),
    Everything(SocketAddr),
}

impl Listening {
    fn read(line: &str) -> Option<Self> {
        let (before, address) = line.split_once("://")?;
        let address = address.trim().parse().ok()?;
        match before {
            "admin calls on http" => Some(Self::Admin(address)),
            "listening on http" | "listening on https" => Some(Self::Everything(address)),
            _ => None,
        }
    }
}

/// Reads lines in a thread until the process closes its output: all of them into the log, and addresses into `found`.
pub(super) fn read_lines(
    from: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
    found: Option<mpsc::UnboundedSender<Listening>>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Some(found) = &found
                && let Some(listening) = Listening::read(&line)
            {
                let _ = found.send(listening);
            }
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() < MAX_LOG {
                log.push_str(&line);
                log.push('\n');
            }
        }
    })
}
