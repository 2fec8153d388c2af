//! `POST /v1/publish`: publishes one event, or an array of events.

mod answer;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body as HttpBody, HttpBody as _};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanfare_api::publish;
use fanfare_broker::{BrokerError, Published};
use fanfare_config::bytes;
use fanfare_protocol::publish::{Body, BodyError, BodyLimits, Item, Publication, PublicationError};
use fanfare_protocol::{Channel, TraceParent};
use http::HeaderMap;
use http::header::EXPECT;
use http::request::Parts;
use http_body_util::BodyExt;

use self::answer::Answer;
use super::Side;
use super::app::App;
use super::body;
use super::idempotency::IdempotencyKey;
use super::params::Params;
use super::problem::{Code, Problem};
use super::{json_body, letter};
use crate::address::ClientAddress;
use crate::auth::Bearer;
use crate::memory::Permit;
use crate::rates::{Caller, Kind, kib};

/// Bodies larger than this, in bytes, are parsed on a blocking thread, away from the shards.
const READ_APART: usize = 256 * 1024;
/// A refused body that is no longer than this, in bytes, and comes without a longer pause is read to its end before the answer,
/// so that the connection can serve the next request. Any other ends its connection.
const SHORT: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(250);

/// Handles `POST`.
pub async fn publish(
    State(app): State<Arc<App>>,
    Extension(side): Extension<Side>,
    request: Request,
) -> Response {
    let (parts, mut body) = request.into_parts();
    // A client that waits for `100 Continue` must not send a refused body.
    let waits = parts.headers.contains_key(EXPECT);
    match answer((&app, side), &parts, &mut body).await {
        Ok(response) => response,
        Err(problem) => {
            if !waits {
                read_out(body).await;
            }
            problem.into_response()
        }
    }
}

async fn answer(
    (app, side): (&App, Side),
    request: &Parts,
    body: &mut HttpBody,
) -> Result<Response, Problem> {
    let Parts { method, headers, uri, .. } = request;
    // Check permissions, then length, then structure.
    let params = Params::parse(uri.query(), &[], &[])?;
    let address = ClientAddress::of(&request.extensions);
    let bearer = app.bearer(headers, &params, address).await?;
    let caller = Caller { user: bearer.user.as_ref(), address };
    side.check(&bearer)?;
    if !bearer.grants.may_publish_somewhere() {
        return Err(Problem::no_grant("the token does not grant publish"));
    }
    letter::precondition(method, headers)?;
    letter::content_coding(headers)?;
    json_body::check_media_type(headers)?;
    let key = IdempotencyKey::read(headers)?;
    // The permit is held until all results are known.
    let (body, mut permit) = body::read(app, request, body, bytes(app.limits.batch_bytes)).await?;
    let length = body.len();
    app.rates.admit(Kind::Bytes, caller, kib(length as u64))?;
    let data = bytes(app.limits.event_data);
    let data = bearer.key.as_ref().and_then(|key| key.event_data).map_or(data, |most| most.min(data));
    let limits = BodyLimits { data, events: app.limits.batch_events };
    let mut body = parse(body, limits).await?;
    if let Some(key) = key {
        key.give(&mut body)?;
    }
    if let Some(trace) = trace_of(headers) {
        give(trace, &mut body);
    }
    charge_repeats(app, caller, (&body, length, &mut permit))?;
    app.rates.admit(Kind::Events, caller, u32::try_from(body.events()).unwrap_or(u32::MAX))?;
    app.rates.admit(Kind::IdempotencyKeys, caller, keys(&body, &bearer))?;
    match body {
        // One item always has one answer.
        Body::One(item) => match all(app, (&bearer, caller), vec![item]).await.pop() {
            Some(answer) => answer.alone(),
            None => Err(no_result()),
        },
        Body::Many(items) => Ok(answer::of_batch(all(app, (&bearer, caller), items).await)),
    }
}

/// Returns the trace of a request. Malformed ones are ignored, and so are several (W3C Trace Context, section 3.2).
fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    TraceParent::parse(value.as_bytes().trim_ascii())
}

/// Gives the trace of a request to its events that have none.
fn give(trace: TraceParent, body: &mut Body) {
    for publication in body.items_mut().iter_mut().flatten().flat_map(Item::publications_mut) {
        if publication.event.trace().is_none() {
            publication.event = publication.event.clone().traced(Some(trace));
        }
    }
}

/// Charges events for several channels: their data, which is sent to Redis, and stored, once for each, and their memory.
fn charge_repeats(
    app: &App,
    caller: Caller<'_>,
    (body, length, permit): (&Body, usize, &mut Permit),
) -> Result<(), Problem> {
    let (repeated, most) = (body.repeated_bytes(), bytes(app.limits.batch_bytes));
    let total = length + repeated;
    if total > most {
        let detail = format!(
            "the events have {total} bytes, with their data for each channel; at most {most} are allowed"
        );
        return Err(Problem::new(Code::TooLarge, detail));
    }
    permit.grow(repeated + body.repeated_memory())?;
    // The body was admitted. A second check would refuse what takes a full bucket at every attempt.
    app.rates.settle(Kind::Bytes, caller, kib(repeated as u64).into());
    Ok(())
}

/// Returns the number of permitted events with an idempotency key.
fn keys(body: &Body, bearer: &Bearer) -> u32 {
    let has_key = |publication: &&Publication| {
        publication.key.is_some() && bearer.grants.may_publish(&publication.channel)
    };
    let items = body.items().iter().flatten();
    u32::try_from(items.flat_map(Item::publications).filter(has_key).count()).unwrap_or(u32::MAX)
}

/// Publishes the permitted items as one batch. Returns an answer for each item, in order. An item with a channel that is not
/// permitted is refused as a whole.
async fn all(
    app: &App,
    (bearer, caller): (&Bearer, Caller<'_>),
    items: Vec<Result<Item, PublicationError>>,
) -> Vec<Answer> {
    let mut batch = Vec::with_capacity(items.len());
    let mut sort = |item: Result<Item, PublicationError>| match item
        .map_err(Problem::from)
        .and_then(|item| granted(bearer, item))
    {
        Ok(Item::One(publication)) => {
            let channel = publication.channel.clone();
            batch.push(publication);
            Sorted::One(channel)
        }
        Ok(Item::Each(publications)) => {
            let count = publications.len();
            batch.extend(publications);
            Sorted::Each(count)
        }
        Err(problem) => Sorted::Refused(problem),
    };
    let sorted: Vec<_> = items.into_iter().map(&mut sort).collect();
    let events = batch.iter_mut().map(|Publication { channel, event, .. }| (&*channel, event));
    let spans = app.tracer.publishing("http", events);
    let published = if batch.is_empty() { Vec::new() } else { store(app, caller, batch).await };
    spans.end(published.iter().any(Result::is_err));
    let mut published = published.into_iter();
    let mut next = || {
        let result = published.next().unwrap_or_else(|| Err(no_result()));
        count(app, result.as_ref());
        result.map(shown)
    };
    let mut answer = |sorted| match sorted {
        Sorted::One(channel) => Answer::One(channel, next()),
        Sorted::Each(count) => Answer::Each((0..count).map(|_| next()).collect()),
        Sorted::Refused(problem) => {
            count(app, Err(&problem));
            Answer::Refused(problem)
        }
    };
    sorted.into_iter().map(&mut answer).collect()
}

/// An item whose publications are in the batch, in order.
enum Sorted {
    One(Channel),
    /// With so many publications.
    Each(usize),
    /// With none.
    Refused(Problem),
}

/// Publishes a batch. A publisher beyond its rate of new channels can still publish to existing channels. Idempotency keys
/// that Redis does not store are given back.
async fn store(app: &App, caller: Caller<'_>, batch: Vec<Publication>) -> Vec<Result<Published, Problem>> {
    let has_key: Vec<bool> = batch.iter().map(|publication| publication.key.is_some()).collect();
    let may_create = app.rates.check(Kind::Channels, caller, 1);
    let published: Vec<Result<Option<Published>, BrokerError>> = match may_create {
        Ok(()) => {
            let published = app.broker.publish(batch).await;
            let made = published.iter().flatten().filter(|published| published.created).count();
            app.rates.settle(Kind::Channels, caller, i64::try_from(made).unwrap_or(i64::MAX) - 1);
            published.into_iter().map(|published| published.map(Some)).collect()
        }
        Err(_) => app.broker.publish_known(batch).await,
    };
    let unused = published.iter().zip(has_key).filter(|(result, has_key)| *has_key && stores_no_key(result));
    app.rates.settle(Kind::IdempotencyKeys, caller, -i64::try_from(unused.count()).unwrap_or(i64::MAX));
    let refused = || match may_create {
        Ok(()) => no_result(),
        Err(limited) => {
            app.rates.count(&limited);
            Problem::from(limited)
        }
    };
    published.into_iter().map(|result| result?.ok_or_else(refused)).collect()
}

/// Returns whether a publication certainly added no idempotency key to Redis.
fn stores_no_key(result: &Result<Option<Published>, BrokerError>) -> bool {
    match result {
        Ok(published) => published.is_none_or(|published| published.repeat),
        // The outcome of this error is unknown; the others mean that nothing was stored.
        Err(error) => !matches!(error, BrokerError::Unavailable(_)),
    }
}

fn granted(bearer: &Bearer, item: Item) -> Result<Item, Problem> {
    let is_refused = |publication: &Publication| !bearer.grants.may_publish(&publication.channel);
    let Some(index) = item.publications().iter().position(is_refused) else { return Ok(item) };
    let channel = &item.publications()[index].channel;
    let problem = if channel.is_internal() {
        Problem::from(PublicationError::Internal)
    } else {
        Problem::no_grant(format!("the token does not grant publish on {channel}"))
    };
    Err(if matches!(item, Item::Each(_)) { problem.of_channel(index) } else { problem })
}

fn count(app: &App, result: Result<&Published, &Problem>) {
    if let Err(problem) = result {
        // The text may quote the event, so it is not logged.
        tracing::debug!(code = problem.code.as_str(), "event refused");
    }
    app.metrics.count_publish(match result {
        Ok(Published { repeat: true, .. }) => "repeat",
        Ok(Published { position: Some(_), .. }) => "stored",
        Ok(Published { position: None, .. }) => "sent",
        Err(problem) => problem.code.as_str(),
    });
}

fn shown(published: Published) -> publish::Published {
    let id = published.position.map(|position| position.to_string());
    publish::Published { id, repeat: published.repeat }
}

fn no_result() -> Problem {
    Problem::new(Code::Internal, "the event has no result")
}

/// Reads the rest of a short body and discards it.
async fn read_out(mut body: HttpBody) {
    let mut left = SHORT;
    if body.size_hint().lower() > left as u64 {
        return;
    }
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(PAUSE, read).await;
}

async fn parse(body: Bytes, limits: BodyLimits) -> Result<Body, Problem> {
    let length = body.len();
    let parse = move || Body::parse(&body, limits);
    let parsed: Result<Body, BodyError> = if length <= READ_APART {
        parse()
    } else {
        let parsed = tokio::task::spawn_blocking(parse).await;
        parsed.map_err(|_| Problem::new(Code::Internal, "the body could not be read"))?
    };
    Ok(parsed?)
}
