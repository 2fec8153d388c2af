//! `GET`: reads a stream: what is stored, or also what comes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use fanfare_broker::forks;
use fanfare_protocol::finite::{Form, Offset, ReadFrom, StreamName, messages, read_cursor};
use http::header::{CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Version};
use tokio::time::{Instant, timeout_at};

use super::cursor::next_cursor;
use super::failure::ReadFailure;
use super::live::Format;
use super::refusal::Refusal;
use super::target::{Target, Use};
use super::{fields, live};
use crate::finite::reader::{Page, ReadError, Reader};
use crate::http::app::App;
use crate::http::letter;
use crate::http::params::Params;
use crate::http::problem::Problem;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How a reader waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not at all.
    CatchUp,
    /// For the next bytes.
    LongPoll,
    /// For all bytes, as server-sent events.
    Events,
    /// For all bytes, as they are.
    Raw,
}

/// What a request asks for.
#[derive(Clone, Copy)]
struct Wanted {
    from: ReadFrom,
    mode: Mode,
    /// The client's cursor.
    cursor: Option<u64>,
    /// Whether a stream that has ended is answered with 204.
    skips_ended: bool,
    /// Whether a stream that does not exist is answered with 204.
    skips_missing: bool,
    /// Whether an `EventSource` comes back, which a response 204 stops.
    is_back: bool,
}

impl Wanted {
    fn read(params: &Params, headers: &HeaderMap) -> Result<Self, Problem> {
        let offset = params.get("offset");
        let from = offset.map_or(Ok(ReadFrom::Start), str::parse);
        let from = from.map_err(|error| Problem::bad_request(error.to_string()))?;
        let mode = match params.get("live") {
            None => Mode::CatchUp,
            Some(_) if offset.is_none() => return Err(Problem::bad_request("live= needs offset=")),
            Some("long-poll") => Mode::LongPoll,
            Some("sse") => Mode::Events,
            Some("raw") => Mode::Raw,
            Some(_) => return Err(Problem::bad_request("live= must be long-poll, sse or raw")),
        };
        let last = fields::text(headers, &LAST_EVENT_ID)?.filter(|id| mode == Mode::Events && !id.is_empty());
        let last = last.map(str::parse::<Offset>).transpose().map_err(|_| {
            Problem::bad_request("Last-Event-ID must be the id of a control event of the stream")
        })?;
        let (from, is_back) = (last.map_or(from, ReadFrom::At), last.is_some());
        let cursor = params.get("cursor").and_then(read_cursor::parse);
        let (skips_ended, skips_missing) = (skips(params, "ended")?, skips(params, "missing")?);
        Ok(Self { from, mode, cursor, skips_ended, skips_missing, is_back })
    }
}

/// Returns whether a parameter asks for the answer 204.
fn skips(params: &Params, name: &str) -> Result<bool, Problem> {
    match params.get(name) {
        None => Ok(false),
        Some("204") => Ok(true),
        Some(_) => Err(Problem::bad_request(format!("{name}= must be 204"))),
    }
}

/// Handles `GET`.
///
/// # Errors
///
/// Fails if there is no such stream, if the offset is not one of it, or if a parameter is invalid.
pub async fn read(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let target = Target::of(&app, &parts, Use::Read).await?;
    let wanted = Wanted::read(&target.params, &parts.headers)?;
    if wanted.mode == Mode::Raw && parts.version <= Version::HTTP_10 {
        let detail =
            "live=raw needs HTTP/1.1 or later: before, a response that breaks off looks like a whole one";
        return Err(Problem::bad_request(detail).into());
    }
    match respond(&app, &target, wanted, &parts).await {
        Err(ReadFailure::Read(ReadError::Missing | ReadError::Deleted)) if wanted.skips_missing => {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Err(ReadFailure::Read(ReadError::Deleted)) if forks::prune(&*app.broker, &target.name).await? => {
            Err(Refusal::missing())
        }
        Err(ReadFailure::Read(error)) => {
            if error == ReadError::Gone {
                app.finite.metrics.lost_places.inc();
            }
            Err(error.into())
        }
        Err(ReadFailure::Refused(refusal)) => Err(refusal),
        Ok(response) => Ok(response),
    }
}

async fn respond(
    app: &Arc<App>,
    target: &Target,
    wanted: Wanted,
    parts: &Parts,
) -> Result<Response, ReadFailure> {
    let (broker, name, headers) = (Arc::clone(&app.broker), &target.name, &parts.headers);
    let keeps_characters = wanted.mode == Mode::Events;
    let opened =
        Reader::open(broker, name.clone(), (wanted.from, &app.finite.pages), keeps_characters).await?;
    let has_all = opened.1.ended && opened.1.bytes.is_empty();
    if opened.0.info().end.is_some() && (wanted.skips_ended || wanted.is_back && has_all) {
        let mut response = StatusCode::NO_CONTENT.into_response();
        fields::set_tail(&mut response, &opened.0.info().tail());
        return Ok(response);
    }
    let cursor = wanted.cursor;
    match wanted.mode {
        Mode::CatchUp => Ok(answer(app, &opened.0, &opened.1, (wanted, headers))),
        Mode::LongPoll => long_poll(app, name, opened, (wanted, headers)).await,
        Mode::Events => Ok(live::respond(app, name, opened, (Format::Events { cursor }, parts))?),
        Mode::Raw => Ok(live::respond(app, name, opened, (Format::Raw, parts))?),
    }
}

/// Answers with the next bytes, or without any when the time is over. What is there is read before the stream is followed, so
/// that a reader that is behind needs no subscription.
async fn long_poll(
    app: &App,
    name: &StreamName,
    (mut reader, mut page): (Reader, Page),
    (wanted, headers): (Wanted, &HeaderMap),
) -> Result<Response, ReadFailure> {
    let until = Instant::now() + app.finite.long_poll;
    if page.bytes.is_empty() && !page.ended {
        let mut follow = app.finite.readers.follow(name)?;
        let ending = app.finite.readers.ending();
        while page.bytes.is_empty() && !page.ended {
            follow.note();
            page = reader.next(&follow).await?;
            if !page.bytes.is_empty() || page.ended {
                break;
            }
            // Both branches only wait.
            let is_over = tokio::select! {
                waited = timeout_at(until, follow.happened()) => waited.is_err(),
                () = ending.cancelled() => true,
            };
            if is_over {
                break;
            }
        }
    }
    let has_bytes = !page.bytes.is_empty();
    let mut response = if has_bytes {
        answer(app, &reader, &page, (wanted, headers))
    } else {
        let mut response = StatusCode::NO_CONTENT.into_response();
        describe(&mut response, &reader, &page);
        fields::set_cache(&mut response, "no-store");
        response
    };
    if reader.info().end.is_none() {
        fields::set(&mut response, fields::CURSOR, next_cursor(wanted.cursor).to_string());
    }
    Ok(response)
}

/// Sets where to go on, and whether that is the end.
fn describe(response: &mut Response, reader: &Reader, page: &Page) {
    fields::set_next(response, page.next);
    if page.up_to_date {
        fields::set(response, fields::UP_TO_DATE, "true");
    }
    if let Some(end) = reader.info().end.as_ref().filter(|_| page.ended) {
        fields::set_end(response, end);
    }
}

fn answer(app: &App, reader: &Reader, page: &Page, (wanted, headers): (Wanted, &HeaderMap)) -> Response {
    let info = reader.info();
    let tag = format!(
        "\"{}:{}:{}{}\"",
        info.generations.newest(),
        page.start.byte,
        page.next.byte,
        if page.ended { ":c" } else { "" }
    );
    let is_now = wanted.from == ReadFrom::Now;
    let is_known = !is_now && letter::members(headers, IF_NONE_MATCH).any(|one| one == tag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        app.finite.metrics.read.inc_by(page.bytes.len() as u64);
        let bytes = match info.media_type.form() {
            Form::Json => messages::array(&page.bytes).into(),
            Form::Text | Form::Bytes => page.bytes.clone(),
        };
        let mut response = Body::from(bytes).into_response();
        fields::set(&mut response, CONTENT_TYPE, info.media_type.as_str());
        response
    };
    describe(&mut response, reader, page);
    if is_now {
        fields::set_cache(&mut response, "no-store");
        return response;
    }
    fields::set(&mut response, ETAG, tag);
    // What is behind the end of an open stream may come at any time; the rest does not change.
    let is_final = !page.up_to_date || page.ended;
    let control =
        if is_final { "private, max-age=60, stale-while-revalidate=300" } else { "private, no-cache" };
    fields::set_cache(&mut response, control);
    response
}
