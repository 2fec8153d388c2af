//! The body of a request, for axum.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::Request;
use http::header::CONTENT_LENGTH;
use hyper::body::{Body, Frame, SizeHint};

use super::unread::{UnreadBodies, Window};
use crate::memory::NoRoom;

/// A body on one stream of the connection. Reading it opens the client's window.
#[derive(Debug)]
pub(super) struct Incoming {
    /// `None` for a request without a body, and for a discarded body.
    open: Option<Open>,
    /// Why the body was discarded.
    no_room: Option<NoRoom>,
}

#[derive(Debug)]
struct Open {
    stream: RecvStream,
    /// Remaining bytes, if the client sent the length, which h2 enforces.
    left: Option<u64>,
    _window: Window,
}

impl Incoming {
    /// Returns a request with its body, which is charged. A body for which there is no memory is discarded at once, and its
    /// request must be refused.
    pub(super) fn admit(request: Request<RecvStream>, unread: &UnreadBodies) -> Request<Self> {
        let (parts, stream) = request.into_parts();
        if stream.is_end_stream() {
            return Request::from_parts(parts, Self { open: None, no_room: None });
        }
        let left = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = match unread.open(left) {
            Ok(window) => Self { open: Some(Open { stream, left, _window: window }), no_room: None },
            Err(no_room) => Self { open: None, no_room: Some(no_room) },
        };
        Request::from_parts(parts, body)
    }

    /// Returns why there is no memory for the body, if it was discarded.
    pub(super) fn no_room(&self) -> Option<NoRoom> {
        self.no_room
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
        let Some(open) = &mut body.open else { return Poll::Ready(None) };
        if let Some(data) = ready!(open.stream.poll_data(cx)) {
            let data = data?;
            // The reader limits its buffer.
            open.stream.flow_control().release_capacity(data.len())?;
            open.left = open.left.map(|left| left.saturating_sub(data.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(open.stream.poll_trailers(cx))?;
        // Releases the window.
        body.open = None;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.stream.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.open.as_ref().map_or(Some(0), |open| open.left);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
