//! The response of a live reader: server-sent events (WHATWG HTML, section 9.2), or the stream's own bytes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanfare_protocol::finite::sse::{self, Control};
use fanfare_protocol::finite::{EndKind, Form, StreamName};
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::cursor::next_cursor;
use super::fields;
use super::target::{Target, Use};
use crate::finite::reader::{Page, Reader};
use crate::finite::readers::{Following, Full};
use crate::http::app::App;
use crate::http::stream_headers;

/// Time without bytes after which a comment is sent, so that proxies do not close the connection.
const QUIET: Duration = Duration::from_secs(15);

/// What a live reader gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Server-sent events. The end of the response is not the end of the stream, so it may come at any time.
    Events {
        /// The client's cursor.
        cursor: Option<u64>,
    },
    /// The bytes of the stream, or messages as lines. The end of the response is the end of the stream, so it breaks off at any
    /// other time, and goes on as long as its bearer may read.
    Raw,
}

/// Why a response with the bytes of the stream breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the stream goes on, or has failed")]
struct BrokenOff;

/// A live reader. Each page is read when the socket has taken the one before, so a slow reader holds one page.
struct Live {
    app: Arc<App>,
    reader: Reader,
    follow: Following,
    format: Format,
    /// The first page, for which server-sent events are sent even if it is empty.
    first: Option<Page>,
    /// Whether the last page had all bytes.
    up_to_date: bool,
    /// When the response ends, and the client comes back; or when the bearer is authenticated again.
    until: Instant,
    /// The request of a response that goes on.
    request: Option<Box<Parts>>,
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
    /// The time is over.
    Late,
    /// The response is to end.
    Over,
}

/// Returns the response of a reader that has read its first page.
///
/// # Errors
///
/// Fails if there are too many readers.
pub(super) fn respond(
    app: &Arc<App>,
    name: &StreamName,
    (reader, first): (Reader, Page),
    (format, request): (Format, &Parts),
) -> Result<Response, Full> {
    // After the read, so that a stream that does not exist is not subscribed to.
    let follow = app.finite.readers.follow(name)?;
    let media_type = reader.info().media_type.clone();
    let live = Live {
        app: Arc::clone(app),
        reader,
        follow,
        format,
        first: Some(first),
        up_to_date: false,
        until: Instant::now() + app.finite.live_age,
        request: (format == Format::Raw).then(|| Box::new(request.clone())),
        is_over: false,
        turn: None,
    };
    let parts = stream::unfold(live, async |mut live| {
        let part = live.next().await?;
        Some((part, live))
    });
    let mut response = (stream_headers(), Body::from_stream(parts)).into_response();
    match (format, media_type.form()) {
        (Format::Events { .. }, Form::Bytes) => fields::set(&mut response, fields::DATA_ENCODING, "base64"),
        (Format::Events { .. }, Form::Json | Form::Text) => {}
        (Format::Raw, Form::Json) => fields::set(&mut response, CONTENT_TYPE, "application/x-ndjson"),
        (Format::Raw, Form::Text | Form::Bytes) => {
            fields::set(&mut response, CONTENT_TYPE, media_type.as_str());
        }
    }
    Ok(response)
}

impl Live {
    /// Returns the next part of the response; `None` at its end.
    async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        if let Some(page) = self.first.take() {
            let part = self.write(page, true);
            // What was appended before the stream was followed is read next.
            self.up_to_date = false;
            if !part.is_empty() {
                return Some(Ok(part));
            }
        }
        self.turn = None;
        let ending = self.app.finite.readers.ending();
        loop {
            // A reader that is always behind ends in time, too.
            if self.is_over || Instant::now() >= self.until && !self.goes_on().await {
                return self.end();
            }
            if self.up_to_date || ending.is_cancelled() {
                match self.wait().await {
                    Waited::Happened => {}
                    Waited::Late => continue,
                    Waited::Quiet => return Some(Ok(Bytes::from_static(b":\n\n"))),
                    Waited::Over => return self.end(),
                }
            }
            self.follow.note();
            // Deleted, or the broker is away: the client comes back, and learns it.
            let Ok(page) = self.reader.next(&self.follow).await else { return self.end() };
            self.up_to_date = page.up_to_date || page.bytes.is_empty();
            if page.bytes.is_empty() && !page.ended {
                continue;
            }
            let part = self.write(page, false);
            if !part.is_empty() {
                return Some(Ok(part));
            }
        }
    }

    /// Returns whether a response goes on after its time: if its bearer may still read. The token may have expired or been revoked.
    async fn goes_on(&mut self) -> bool {
        let Some(request) = &self.request else { return false };
        let may = Target::of(&self.app, request, Use::Read).await.is_ok();
        self.until = Instant::now() + self.app.finite.live_age;
        may
    }

    /// Ends the response, or breaks it off if its end would be taken for the end of the stream.
    fn end(&self) -> Option<Result<Bytes, BrokenOff>> {
        let end = self.reader.info().end.as_ref().filter(|_| self.is_over);
        let is_whole = end.is_some_and(|end| end.kind != EndKind::Error);
        (self.format == Format::Raw && !is_whole).then_some(Err(BrokenOff))
    }

    async fn wait(&mut self) -> Waited {
        let ending = self.app.finite.readers.ending();
        let quiet = match self.format {
            Format::Events { .. } => Instant::now() + QUIET,
            // There is nothing that could be sent.
            Format::Raw => self.until,
        };
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
            Err(_) if Instant::now() >= self.until => Waited::Late,
            Err(_) => Waited::Quiet,
        }
    }

    /// Returns the part of the response for a page.
    fn write(&mut self, page: Page, is_first: bool) -> Bytes {
        self.app.finite.metrics.read.inc_by(page.bytes.len() as u64);
        self.up_to_date = page.up_to_date;
        self.is_over = page.ended;
        let part = match self.format {
            Format::Events { cursor } => self.events(&page, cursor, is_first),
            Format::Raw => page.bytes,
        };
        self.turn = page.turn;
        part
    }

    /// Returns the events of a page: its data, if there are any, and where to go on.
    fn events(&self, page: &Page, cursor: Option<u64>, is_first: bool) -> Bytes {
        let mut text = Vec::with_capacity(page.bytes.len() + 256);
        let info = self.reader.info();
        if !page.bytes.is_empty() {
            sse::write_data(&mut text, info.media_type.form(), &page.bytes);
        }
        let control = Control {
            next: page.next,
            cursor: Some(next_cursor(cursor)),
            up_to_date: page.up_to_date,
            end: info.end.as_ref().filter(|_| page.ended),
            is_first,
        };
        sse::write_control(&mut text, &control);
        text.into()
    }
}
