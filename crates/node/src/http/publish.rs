//! `POST /v1/publish`: one event, or an array.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use fanfare_broker::{BrokerError, Published};
use fanfare_protocol::publish::{Body, BodyError, BodyLimits, Publication, PublicationError};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::app::App;
use super::idempotency::IdempotencyKey;
use super::letter;
use super::params::Params;
use super::problem::{Code, Problem};
use crate::address::ClientAddress;
use crate::auth::Bearer;
use crate::config::bytes;
use crate::config::limits::kib;
use crate::rates::{Caller, Kind};

/// A body larger than this is read away from the loops that serve connections.
const READ_APART: usize = 256 * 1024;
/// How long and how much more is read of a body that is too large, so that the client hears why.
const HEAR_OUT: (Duration, usize) = (Duration::from_secs(2), 64 * 1024 * 1024);

/// The call.
pub async fn publish(State(app): State<Arc<App>>, request: Request) -> Response {
    match answer(&app, request).await {
        Ok(body) => axum::Json(body).into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn answer(app: &App, request: Request) -> Result<Value, Problem> {
    let params = Params::parse(request.uri().query(), &[], &[])?;
    let address = request.extensions().get::<ClientAddress>().copied().unwrap_or_default();
    let bearer = app.bearer(request.headers(), &params, address)?;
    let caller = Caller { user: bearer.user.as_ref(), address };
    letter::precondition(request.headers())?;
    letter::content_coding(request.headers())?;
    if !is_json(request.headers()) {
        return Err(Problem::new(Code::MediaType, "send the body with Content-Type: application/json"));
    }
    let key = IdempotencyKey::read(request.headers())?;
    let patience = app.http.body_read_timeout;
    let body = tokio::time::timeout(patience, read(request, bytes(app.limits.batch_bytes)))
        .await
        .map_err(|_| Problem::bad_request("the body took too long to arrive"))??;
    app.rates.admit(Kind::Bytes, caller, kib(body.len() as u64))?;
    let limits = BodyLimits { data: bytes(app.limits.event_data), events: app.limits.batch_events };
    let mut body = parse(body, limits).await?;
    if let Some(key) = key {
        key.give(&mut body)?;
    }
    let events = match &body {
        Body::One(_) => 1,
        Body::Many(items) => u32::try_from(items.len()).unwrap_or(u32::MAX),
    };
    app.rates.admit(Kind::Events, caller, events)?;
    match body {
        Body::One(item) => {
            let mut results = all(app, (&bearer, caller), vec![item]).await;
            // One item has one result.
            results.pop().unwrap_or_else(|| Err(Problem::new(Code::Internal, "the event has no result")))
        }
        Body::Many(items) => {
            let results = all(app, (&bearer, caller), items).await;
            let each = |result: Result<Value, Problem>| {
                result.unwrap_or_else(|problem| json!({ "error": problem.to_json() }))
            };
            Ok(results.into_iter().map(each).collect())
        }
    }
}

/// Publishes what may be published, as one batch, and answers for each item in order.
async fn all(
    app: &App,
    (bearer, caller): (&Bearer, Caller<'_>),
    items: Vec<Result<Publication, PublicationError>>,
) -> Vec<Result<Value, Problem>> {
    let mut batch = Vec::with_capacity(items.len());
    let mut refused = Vec::with_capacity(items.len());
    for item in items {
        match item.map_err(Problem::from).and_then(|publication| granted(bearer, publication)) {
            Ok(publication) => {
                batch.push(publication);
                refused.push(None);
            }
            Err(problem) => refused.push(Some(problem)),
        }
    }
    let published = if batch.is_empty() { Vec::new() } else { store(app, caller, batch).await };
    let mut published = published.into_iter();
    let result = |refused: Option<Problem>| {
        let result = match refused {
            Some(problem) => Err(problem),
            None => match published.next() {
                Some(published) => published,
                None => Err(Problem::new(Code::Internal, "the event has no result")),
            },
        };
        count(app, &result);
        result.map(shown)
    };
    refused.into_iter().map(result).collect()
}

/// Publishes a batch. A publisher that has made as many channels as it may for now publishes to those that there are.
async fn store(app: &App, caller: Caller<'_>, batch: Vec<Publication>) -> Vec<Result<Published, Problem>> {
    match app.rates.check(Kind::Channels, caller, 1) {
        Ok(()) => {
            let published = app.broker.publish(batch).await;
            let made = published.iter().flatten().filter(|published| published.created).count();
            app.rates.settle(Kind::Channels, caller, i64::try_from(made).unwrap_or(i64::MAX) - 1);
            published.into_iter().map(|published| published.map_err(Problem::from)).collect()
        }
        Err(limited) => {
            let known = |published: Result<Option<Published>, BrokerError>| {
                published?.ok_or_else(|| {
                    app.metrics.count_limited(limited.scope, limited.kind);
                    Problem::from(limited)
                })
            };
            app.broker.publish_known(batch).await.into_iter().map(known).collect()
        }
    }
}

fn granted(bearer: &Bearer, publication: Publication) -> Result<Publication, Problem> {
    if bearer.grants.may_publish(&publication.channel) {
        Ok(publication)
    } else {
        Err(Problem::no_grant(format!("the token grants no publish for {}", publication.channel)))
    }
}

fn count(app: &App, result: &Result<Published, Problem>) {
    if let Err(problem) = result {
        // Not its text, which may quote the event.
        tracing::debug!(code = problem.code.as_str(), "an event was refused");
    }
    app.metrics.count_publish(match result {
        Ok(Published { repeat: true, .. }) => "repeat",
        Ok(Published { position: Some(_), .. }) => "stored",
        Ok(Published { position: None, .. }) => "sent",
        Err(problem) => problem.code.as_str(),
    });
}

fn shown(published: Published) -> Value {
    json!({ "id": published.position.map(|position| position.to_string()), "repeat": published.repeat })
}

/// `application/json`, or a type that ends in `+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::TooLarge, format!("the body may have {limit} bytes at most"));
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    // A client that waits to be asked for the body is not asked for it.
    let waits = headers.contains_key(EXPECT);
    let mut body = request.into_body();
    if length.is_some_and(|length| length > limit) {
        if !waits {
            hear_out(body).await;
        }
        return Err(too_large());
    }
    let mut read = BytesMut::with_capacity(length.unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limit {
            hear_out(body).await;
            return Err(too_large());
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Reads on for a while and throws it away: a connection that is closed with bytes unread is reset, and the client
/// may never see the answer.
async fn hear_out(mut body: HttpBody) {
    let (patience, most) = HEAR_OUT;
    let read = async {
        let mut heard = 0;
        while let Some(Ok(frame)) = body.frame().await {
            heard += frame.data_ref().map_or(0, Bytes::len);
            if heard > most {
                break;
            }
        }
    };
    // Whoever has more to say is cut off.
    let _ = tokio::time::timeout(patience, read).await;
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
