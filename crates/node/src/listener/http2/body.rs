//! The body of a request, for axum.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Body, Frame, SizeHint};

/// A body on one stream of the connection. Reading it opens the client's window.
#[derive(Debug)]
pub(super) struct Incoming {
    stream: RecvStream,
    /// Remaining bytes, if the client sent the length, which h2 enforces.
    left: Option<u64>,
}

impl Incoming {
    pub(super) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self { stream, left: length }
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
