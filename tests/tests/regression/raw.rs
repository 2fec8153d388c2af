//! Bytes on a socket, and what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the peer may take to close.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends bytes and reads until the peer closes.
///
/// # Panics
///
/// When it does not listen, or does not close.
pub(crate) async fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(to).await.expect("it listens");
    // The peer may have answered and closed before it has read all.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match read {
        Err(late) => panic!("the peer does not close after {answer:?}: {late}"),
        Ok(Err(e)) if answer.is_empty() => format!("reset: {e}"),
        Ok(_) => answer,
    }
}
