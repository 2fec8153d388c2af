//! The response of a live reader: server-sent events (WHATWG HTML, section 9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanfare_protocol::finite::sse::{self, Control};
use fanfare_protocol::finite::{Form, ReadFrom, StreamName};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::cursor::next_cursor;
use super::failure::ReadFailure;
use super::fields;
use crate::finite::reader::{Page, Reader};
use crate::finite::readers::Following;
use crate::http::app::App;
use crate::http::stream_headers;

/// Time without bytes after which a comment is sent, so that proxies do not close the connection.
const QUIET: Duration = Duration::from_secs(15);

/// A live reader. Each page is read when the socket has taken the one before, so a slow reader holds one page.
struct Live {
    app: Arc<App>,
    reader: Reader,
    follow: Following,
    cursor: Option<u64>,
    /// The first page, which is sent even if it is empty.
    first: Option<Page>,
    /// Whether the last page had all bytes.
    up_to_date: bool,
    /// When the response ends, and the client comes back.
    until: Instant,
    is_over: bool,
    /// Held until the socket has taken the page.
    turn: Option<OwnedSemaphorePermit>,
}

/// What happened while a reader waited.
enum Waited {
    /// Maybe there are bytes.
    Happened,
    /// Nothing, for long.
    Quiet,
    /// The response is to end.
    Over,
}

/// Returns the response.
///
/// # Errors
///
/// Fails if there is no such stream, or no such place in it, or if there are too many readers.
pub(super) async fn respond(
    app: &Arc<App>,
    name: &StreamName,
    from: ReadFrom,
    cursor: Option<u64>,
) -> Result<Response, ReadFailure> {
    let broker = Arc::clone(&app.broker);
    let (reader, first) = Reader::open(broker, name.clone(), (from, &app.finite.pages), true).await?;
    // After the read, so that a stream that does not exist is not subscribed to.
    let follow = app.finite.readers.follow(name)?;
    let form = reader.info().media_type.form();
    let until = Instant::now() + app.finite.live_age;
    let live = Live {
        app: Arc::clone(app),
        reader,
        follow,
        cursor,
        first: Some(first),
        up_to_date: false,
        until,
        is_over: false,
        turn: None,
    };
    let events = stream::unfold(live, async |mut live| {
        let text = live.next().await?;
        Some((Ok::<_, Infallible>(text), live))
    });
    let mut response = (stream_headers(), Body::from_stream(events)).into_response();
    if form == Form::Bytes {
        fields::set(&mut response, fields::DATA_ENCODING, "base64");
    }
    Ok(response)
}

impl Live {
    /// Returns the text of the next page; `None` at the end of the response.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(page) = self.first.take() {
            let text = self.text(page);
            // What was appended before the stream was followed is read next.
            self.up_to_date = false;
            return Some(text);
        }
        self.turn = None;
        let ending = self.app.finite.readers.ending();
        loop {
            // A reader that is always behind ends in time, too.
            if self.is_over || Instant::now() >= self.until {
                return None;
            }
            if self.up_to_date || ending.is_cancelled() {
                match self.wait().await {
                    Waited::Happened => {}
                    Waited::Quiet => return Some(Bytes::from_static(b":\n\n")),
                    Waited::Over => return None,
                }
            }
            self.follow.note();
            // Deleted, or the broker is away: the client comes back, and learns it.
            let page = self.reader.next(&self.follow).await.ok()?;
            self.up_to_date = page.up_to_date || page.bytes.is_empty();
            if !page.bytes.is_empty() || page.ended {
                return Some(self.text(page));
            }
        }
    }

    async fn wait(&mut self) -> Waited {
        let ending = self.app.finite.readers.ending();
        let quiet = Instant::now() + QUIET;
        // Both branches only wait.
        let waited = tokio::select! {
            waited = timeout_at(self.until.min(quiet), self.follow.happened()) => waited,
            () = ending.cancelled() => {
                let window = self.app.finite.drain_window;
                tokio::time::sleep(window.mul_f64(fastrand::f64())).await;
                return Waited::Over;
            }
        };
        match waited {
            Ok(()) => Waited::Happened,
            Err(_) if Instant::now() >= self.until => Waited::Over,
            Err(_) => Waited::Quiet,
        }
    }

    /// Returns the events of a page: its data, if there are any, and where to go on.
    fn text(&mut self, page: Page) -> Bytes {
        let mut text = Vec::with_capacity(page.bytes.len() + 256);
        let info = self.reader.info();
        if !page.bytes.is_empty() {
            sse::write_data(&mut text, info.media_type.form(), &page.bytes);
        }
        let cursor = Some(next_cursor(self.cursor));
        let end = info.end.as_ref().filter(|_| page.ended);
        sse::write_control(&mut text, &Control { next: page.next, cursor, up_to_date: page.up_to_date, end });
        self.app.finite.metrics.read.inc_by(page.bytes.len() as u64);
        self.up_to_date = page.up_to_date;
        self.is_over = page.ended;
        self.turn = page.turn;
        text.into()
    }
}
