//! `PUT`: creates a stream, or a fork of another one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanfare_broker::forks::{self, ForkAt};
use fanfare_broker::stream_store::{Created, NewFork, NewStream, Origin, StreamInfo};
use fanfare_protocol::finite::{End, Form, Lease, Life, MediaType, StreamName, messages};
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::fields::{self, text};
use super::refusal::Refusal;
use super::target::{Target, Use, stream_name};
use super::{PREFIX, fields as names};
use crate::http::app::App;
use crate::http::problem::{Code, Problem};
use crate::http::{body, letter};
use crate::memory;
use crate::rates::Kind;

/// Maximum number of messages or bytes behind an offset at which a fork may begin.
const MAX_SUB_OFFSET: u64 = 1 << 40;

/// Size of a body, in bytes, beyond which it is parsed apart from the tasks of sockets.
const READ_APART: usize = 256 * 1024;
/// Copies of a source's bytes while it is forked: as read, and as sent to Redis.
const FORK_COPIES: usize = 2;

/// What a request asks for.
struct Wanted {
    media_type: Option<MediaType>,
    life: Life,
    lease: Option<Lease>,
    end: Option<End>,
    fork: Option<Fork>,
}

struct Fork {
    at: ForkAt,
    /// The text of the offset, by which a repeated request is recognized.
    offset: Option<String>,
}

/// Handles `PUT`: 201 if the stream was created, 200 if it existed with the same settings.
///
/// # Errors
///
/// Fails if the stream exists with other settings, if its source does not exist, or if a header or the body is invalid.
pub async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (parts, mut body) = request.into_parts();
    let target = Target::of(&app, &parts, Use::Write).await?;
    let wanted = Wanted::read(&parts.headers, &target)?;
    letter::content_coding(&parts.headers)?;
    let (bytes, _permit) = body::read(&app, &parts, &mut body, app.body_limit()).await?;
    drop(body);
    app.rates.admit(Kind::Bytes, target.caller(), kib(bytes.len()))?;
    app.rates.admit(Kind::Channels, target.caller(), 1)?;
    let created = match wanted.fork {
        None => plain(&app, &target, wanted, &bytes).await?,
        Some(_) => forked(&app, &target, wanted, &bytes).await?,
    };
    match created {
        Created::New(info) => {
            app.finite.metrics.created.inc();
            app.finite.metrics.bytes.inc_by(bytes.len() as u64);
            let mut response = answer(StatusCode::CREATED, &info);
            fields::set(&mut response, LOCATION, location(&app, &parts));
            Ok(response)
        }
        Created::Same(info) => Ok(answer(StatusCode::OK, &info)),
        Created::Other(info) => {
            let detail = "the stream exists with another media type, life, lease, end or source";
            Err(Refusal::new(Code::StreamExists, detail).at(Some(info.tail())))
        }
        Created::Deleted => {
            if forks::prune(&*app.broker, &target.name).await? {
                return Err(Refusal::new(Code::StreamConflict, "the stream was being deleted; try again"));
            }
            let detail = "a stream of this name was deleted and has forks";
            Err(Refusal::new(Code::StreamExists, detail))
        }
        Created::Absent => Err(Refusal::missing()),
    }
}

impl Wanted {
    fn read(headers: &HeaderMap, target: &Target) -> Result<Self, Refusal> {
        let media_type = media_type(headers)?;
        let (ttl, expires_at) = (text(headers, &names::TTL)?, text(headers, &names::EXPIRES_AT)?);
        let life = Life::read(ttl, expires_at).map_err(|error| Problem::bad_request(error.to_string()))?;
        let fork = Fork::read(headers, target, media_type.clone())?;
        let lease = text(headers, &names::LEASE)?.map(Lease::read).transpose();
        let lease = lease.map_err(|error| Problem::bad_request(error.to_string()))?;
        Ok(Self { media_type, life, lease, end: fields::end(headers)?, fork })
    }
}

impl Fork {
    fn read(
        headers: &HeaderMap,
        target: &Target,
        media_type: Option<MediaType>,
    ) -> Result<Option<Self>, Refusal> {
        let offset = text(headers, &names::FORK_OFFSET)?;
        let sub_offset = text(headers, &names::FORK_SUB_OFFSET)?;
        let Some(path) = text(headers, &names::FORKED_FROM)? else {
            if offset.is_some() || sub_offset.is_some() {
                let detail = "Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From";
                return Err(Problem::bad_request(detail).into());
            }
            return Ok(None);
        };
        let Some(path) = path.strip_prefix(PREFIX) else {
            let detail = format!("Stream-Forked-From must be the path of a stream: {PREFIX}<name>");
            return Err(Problem::bad_request(detail).into());
        };
        let source = stream_name(path)?;
        target.check(&source, Use::Read)?;
        let parsed = offset.map(str::parse).transpose();
        let parsed = parsed.map_err(|_| {
            Problem::bad_request("Stream-Fork-Offset must be the text of a Stream-Next-Offset")
        })?;
        let sub_offset = sub_offset.map_or(Ok(0), read_sub_offset)?;
        if sub_offset > 0 && parsed.is_none() {
            return Err(Problem::bad_request("Stream-Fork-Sub-Offset needs Stream-Fork-Offset").into());
        }
        let at = ForkAt { source, offset: parsed, sub_offset, media_type };
        Ok(Some(Self { at, offset: offset.map(str::to_owned) }))
    }
}

fn read_sub_offset(text: &str) -> Result<u64, Problem> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = is_number && (text.len() == 1 || !text.starts_with('0'));
    let number = is_plain.then(|| text.parse().unwrap_or(u64::MAX).min(MAX_SUB_OFFSET));
    number.ok_or_else(|| {
        Problem::bad_request("Stream-Fork-Sub-Offset must be a whole number without leading zeros")
    })
}

/// Returns the media type of a request, if it has one.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<MediaType>, Problem> {
    let text = text(headers, &CONTENT_TYPE)?.filter(|text| !text.trim().is_empty());
    text.map(MediaType::new).transpose().map_err(|error| Problem::bad_request(error.to_string()))
}

async fn plain(app: &App, target: &Target, wanted: Wanted, body: &Bytes) -> Result<Created, Refusal> {
    let media_type = wanted.media_type.unwrap_or_else(MediaType::bytes);
    let bytes = stored(&media_type, body).await?;
    if bytes.len() > app.finite.most_bytes {
        return Err(Refusal::new(
            Code::TooLarge,
            "the stream would have more than finite.stream_bytes bytes",
        ));
    }
    let Wanted { life, lease, end, .. } = wanted;
    let requested = life.clone();
    let new = NewStream { media_type, requested, life, bytes, end, fork: None, lease, only_compare: false };
    Ok(app.broker.create_stream(&target.name, &new).await?)
}

/// Returns the bytes of a body as they are stored.
///
/// # Errors
///
/// Fails if the body is not JSON, and the media type is.
pub(super) async fn stored(media_type: &MediaType, body: &Bytes) -> Result<Bytes, Problem> {
    if media_type.form() != Form::Json || body.is_empty() {
        return Ok(body.clone());
    }
    let read =
        |body: &Bytes| messages::lines(body).map_err(|error| Problem::new(Code::BadJson, error.to_string()));
    if body.len() <= READ_APART {
        return read(body).map(Bytes::from);
    }
    let body = body.clone();
    let lines = tokio::task::spawn_blocking(move || read(&body)).await;
    lines.map_err(|_| Problem::new(Code::Internal, "the body could not be read"))?.map(Bytes::from)
}

async fn forked(app: &App, target: &Target, wanted: Wanted, body: &Bytes) -> Result<Created, Refusal> {
    let Wanted { media_type, life, lease, end, fork } = wanted;
    let Some(Fork { at, offset }) = fork else { return Err(Refusal::missing()) };
    if let Some(created) =
        existing(app, &target.name, (&at, &offset), (&media_type, &life, lease, &end)).await?
    {
        return Ok(created);
    }
    let plan = forks::plan(&*app.broker, at).await??;
    let media_type = media_type.unwrap_or_else(|| plan.source.media_type.clone());
    let own = if life == Life::Unset { plan.source.life.clone() } else { life.clone() };
    let bytes = stored(&media_type, body).await?;
    // The bytes of the source are read, and sent to Redis.
    let copies = FORK_COPIES * usize::try_from(plan.bytes).unwrap_or(usize::MAX / FORK_COPIES);
    let _room = app.memory.account(None).reserve(memory::Kind::Bodies, copies)?;
    let new = NewStream {
        media_type,
        requested: life,
        life: own,
        bytes,
        end,
        fork: None,
        lease,
        only_compare: false,
    };
    Ok(forks::create(&*app.broker, &target.name, (plan, offset), new, app.finite.most_bytes).await??)
}

/// Compares a fork with the stream that exists, whose source may be gone by now. `None` if there is no stream.
async fn existing(
    app: &App,
    name: &StreamName,
    (at, offset): (&ForkAt, &Option<String>),
    (media_type, life, lease, end): (&Option<MediaType>, &Life, Option<Lease>, &Option<End>),
) -> Result<Option<Created>, Refusal> {
    use fanfare_broker::stream_store::{Found, ReadRange};
    let known = match app.broker.read_stream(name, ReadRange::INFO).await? {
        Found::Here(page) => page.info.media_type,
        Found::Deleted => return Ok(Some(Created::Deleted)),
        Found::Missing => return Ok(None),
    };
    let origin = Origin { source: at.source.clone(), token: String::new() };
    let fork = NewFork { origin, offset: offset.clone(), sub_offset: at.sub_offset, ended: Vec::new() };
    let new = NewStream {
        media_type: media_type.clone().unwrap_or(known),
        requested: life.clone(),
        life: life.clone(),
        bytes: Bytes::new(),
        end: end.clone(),
        fork: Some(fork),
        lease,
        only_compare: true,
    };
    let created = app.broker.create_stream(name, &new).await?;
    Ok(Some(created).filter(|created| *created != Created::Absent))
}

fn answer(status: StatusCode, info: &StreamInfo) -> Response {
    let mut response = (status, Body::empty()).into_response();
    fields::set(&mut response, CONTENT_TYPE, info.media_type.as_str());
    fields::set_tail(&mut response, &info.tail());
    fields::set_lease(&mut response, info.lease);
    response
}

/// Returns the absolute URL of the stream. A balancer that ends TLS says so in `X-Forwarded-Proto`.
fn location(app: &App, parts: &Parts) -> String {
    let told = parts.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let scheme = match told {
        Some(told @ ("http" | "https")) => told,
        _ if app.finite.is_tls => "https",
        _ => "http",
    };
    let host = parts.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
    format!("{scheme}://{host}{}", parts.uri.path())
}

/// Returns a size in KiB, at least 1.
pub(super) fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).max(1)
}
