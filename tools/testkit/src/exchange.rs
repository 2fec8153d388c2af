//! One request, byte for byte, and its answer.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::deadline::SOON;
use crate::head::Head;

/// An answer, as far as it was read.
#[derive(Clone, Debug)]
pub struct Exchanged {
    /// The head.
    pub head: Head,
    /// What came behind it, with the framing that it has.
    pub rest: String,
}

/// Sends a request and reads until the peer closes, or until `enough` is in what came.
///
/// # Panics
///
/// When there is no answer.
pub async fn exchange(to: SocketAddr, request: &str, enough: &str) -> Exchanged {
    let mut socket = TcpStream::connect(to).await.expect("the peer listens");
    // A peer that refuses a large head may have answered before it has read all.
    let _ = socket.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let read = async {
        while enough.is_empty() || !String::from_utf8_lossy(&bytes).contains(enough) {
            if !matches!(socket.read_buf(&mut bytes).await, Ok(1..)) {
                return;
            }
        }
    };
    timeout(SOON, read).await.unwrap_or_else(|_| panic!("no end and no {enough:?} in {}", lossy(&bytes)));
    let (head, length) = Head::parse(&bytes)
        .unwrap_or_else(|e| panic!("{e}: {}", lossy(&bytes)))
        .unwrap_or_else(|| panic!("no whole head: {:?}", lossy(&bytes)));
    Exchanged { head, rest: lossy(&bytes[length..]) }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
