//! The body of a request, for axum.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Body, Frame, SizeHint};

use super::WINDOW;
use crate::memory::{Account, Kind, NoRoom, Permit};

/// [`WINDOW`], in bytes.
const AHEAD: usize = WINDOW as usize;

/// A body on one stream of the connection. Reading it opens the client's window.
#[derive(Debug)]
pub(super) struct Incoming {
    stream: RecvStream,
    /// Permit for the window, which the client may fill even if the body is never read. Dropping the stream discards the data.
    _permit: Permit,
    /// Remaining bytes, if the client sent the length, which h2 enforces.
    left: Option<u64>,
}

impl Incoming {
    /// Reserves memory for the data that the client may send before it is read.
    ///
    /// # Errors
    ///
    /// Fails if there is none, and discards the body.
    pub(super) fn new(stream: RecvStream, length: Option<u64>, account: &Account) -> Result<Self, NoRoom> {
        let ahead = match length {
            _ if stream.is_end_stream() => 0,
            Some(length) => usize::try_from(length).unwrap_or(usize::MAX).min(AHEAD),
            None => AHEAD,
        };
        let permit = account.take(Kind::Bodies, ahead)?;
        Ok(Self { stream, _permit: permit, left: length })
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let body = self.get_mut();
        if let Some(data) = ready!(body.stream.poll_data(cx)) {
            let data = data?;
            // The reader limits its buffer.
            body.stream.flow_control().release_capacity(data.len())?;
            body.left = body.left.map(|left| left.saturating_sub(data.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(body.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
