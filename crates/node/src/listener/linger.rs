//! The end of an HTTP/1.1 connection whose client may still send (RFC 9112, section 9.6).
//!
//! If a socket is closed while it has unread input, or before more input arrives, the kernel resets it, and a reset may
//! discard the response before the client has read it. So the node closes its sending half first, and reads and discards
//! input until the client closes the connection, for a bounded time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::read_ahead::ReadAhead;

/// Maximum time for which input is discarded after the response.
const LONGEST: Duration = Duration::from_secs(30);
/// Maximum pause of the client.
const PAUSE: Duration = Duration::from_secs(5);
/// Maximum number of discarded bytes.
const BYTES: usize = 64 * 1024 * 1024;
/// Size of one read, in bytes.
const PIECE: usize = 8 * 1024;

/// Whether the body of the last request was dropped before its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Wraps the body of the next request, to record whether it is dropped before its end.
    pub(super) fn watch(&self, body: Incoming, ahead: &ReadAhead) -> Watched {
        self.0.store(false, Ordering::Relaxed);
        let ended = body.is_end_stream();
        if !ended {
            ahead.begin_body();
        }
        Watched { ended, body, unread: self.clone(), ahead: ahead.clone() }
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's body.
#[derive(Debug)]
pub(super) struct Watched {
    body: Incoming,
    ended: bool,
    unread: Unread,
    ahead: ReadAhead,
}

impl Body for Watched {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let watched = self.get_mut();
        let frame = ready!(Pin::new(&mut watched.body).poll_frame(cx));
        if let Some(Ok(data)) = frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
            watched.ahead.take_body(data.map_or(0, bytes::Bytes::len));
        }
        if !watched.ended && (frame.is_none() || watched.body.is_end_stream()) {
            watched.ended = true;
            watched.ahead.end_body();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.ended {
            self.unread.0.store(true, Ordering::Relaxed);
            self.ahead.end_body();
        }
    }
}

/// Reads and discards input until the client closes, pauses for too long, or exceeds the limit.
pub(super) async fn discard(mut socket: impl AsyncRead + Unpin) {
    let mut piece = vec![0; PIECE];
    let read = async {
        let mut left = BYTES;
        while let Ok(Ok(n @ 1..)) = timeout(PAUSE, socket.read(&mut piece)).await {
            left = left.saturating_sub(n);
            if left == 0 {
                return;
            }
        }
    };
    // A client that continues to send is disconnected.
    let _ = timeout(LONGEST, read).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn input_is_discarded_until_the_client_closes() {
        let (node, mut client) = tokio::io::duplex(1024);
        let discarding = tokio::spawn(discard(node));
        for _ in 0..5 {
            sleep(PAUSE * 4 / 5).await;
            client.write_all(&[0; 10_000]).await.unwrap();
        }
        assert!(!discarding.is_finished());
        drop(client);
        let begun = Instant::now();
        discarding.await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_slowness_and_length_are_bounded() {
        let begun = Instant::now();
        let (node, _silent) = tokio::io::duplex(1024);
        discard(node).await;
        assert_eq!(begun.elapsed(), PAUSE);

        let begun = Instant::now();
        let (node, mut client) = tokio::io::duplex(1024);
        let slow = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        discard(node).await;
        assert_eq!(begun.elapsed(), LONGEST);
        slow.await.unwrap();

        let (node, mut client) = tokio::io::duplex(1 << 20);
        let endless = tokio::spawn(async move {
            let (mut sent, piece) = (0, vec![0; 1 << 20]);
            while client.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
            sent
        });
        discard(node).await;
        assert!((BYTES..BYTES + (4 << 20)).contains(&endless.await.unwrap()));
    }
}
