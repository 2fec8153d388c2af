//! `POST`: appends bytes, ends the stream, or both.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanfare_broker::forks;
use fanfare_broker::stream_store::{Append, AppendOutcome, Appended, BodyFault, StreamTail};
use fanfare_protocol::finite::{Form, MediaType, Producer, StreamName};
use http::{HeaderMap, StatusCode};

use super::create::{kib, media_type, stored};
use super::fields::{self, text};
use super::piped;
use super::refusal::Refusal;
use super::target::{Target, Use};
use crate::http::app::App;
use crate::http::problem::{Code, Problem};
use crate::http::{body, letter};
use crate::rates::Kind;

/// Maximum length of `Stream-Seq`, in bytes.
const MAX_ORDER: usize = 256;

/// Handles `POST`: 204, or 200 for a producer's append that was not accepted before.
///
/// # Errors
///
/// Fails if the stream does not exist, has ended or has another media type, if the append is not the producer's next one, or if
/// a header or the body is invalid.
pub async fn append(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (parts, mut body) = request.into_parts();
    let usage = if fields::cancels(&parts.headers) { Use::Cancel } else { Use::Write };
    let target = Target::of(&app, &parts, usage).await?;
    let mut append = read_headers(&parts.headers)?;
    letter::content_coding(&parts.headers)?;
    let media_type = media_type(&parts.headers);
    if piped::is_piped(&parts, &body, &append, &media_type) {
        return piped::append(&app, (&parts, target), body, (media_type?, append.end)).await;
    }
    let (bytes, _permit) = body::read(&app, &parts, &mut body, app.body_limit()).await?;
    app.rates.admit(Kind::Bytes, target.caller(), kib(bytes.len()))?;
    app.rates.admit(Kind::Events, target.caller(), 1)?;
    let bad = fill(&mut append, media_type, &bytes).await?;
    let Appended { outcome, at } = commit(&app, &target.name, &append, bad).await?;
    let is_new = outcome == AppendOutcome::Appended;
    let is_producers = append.producer.is_some() && !append.bytes.is_empty();
    let status = if is_new && is_producers { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let mut response = respond(status, at.as_ref());
    if let Some(Producer { epoch, seq, .. }) = append.producer {
        let last = if let AppendOutcome::Repeated(last) = outcome { last } else { seq };
        fields::set(&mut response, fields::PRODUCER_EPOCH, epoch.to_string());
        fields::set(&mut response, fields::PRODUCER_SEQ, last.to_string());
    }
    Ok(response)
}

/// Appends, and counts it. Returns what happened to an append that is accepted.
///
/// # Errors
///
/// Fails if the append is refused, or if the broker does not answer. `bad` is what is wrong with a body that is not JSON.
pub(super) async fn commit(
    app: &App,
    name: &StreamName,
    append: &Append,
    bad: Option<Problem>,
) -> Result<Appended, Refusal> {
    let appended = app.broker.append_stream(name, append).await?;
    if appended.outcome == AppendOutcome::Appended {
        app.finite.metrics.bytes.inc_by(append.bytes.len() as u64);
        if let Some(end) = &append.end {
            app.finite.metrics.ended(end.kind);
        }
    }
    accepted(app, name, appended, bad).await
}

/// Counts an append, and returns it if it was accepted.
///
/// # Errors
///
/// Fails like [`commit`].
pub(super) async fn accepted(
    app: &App,
    name: &StreamName,
    Appended { outcome, at }: Appended,
    bad: Option<Problem>,
) -> Result<Appended, Refusal> {
    app.finite.metrics.appended(outcome);
    if outcome == AppendOutcome::Lapsed {
        app.finite.metrics.lapses.inc();
    }
    match outcome {
        AppendOutcome::Appended | AppendOutcome::Repeated(_) | AppendOutcome::Ended => {
            Ok(Appended { outcome, at })
        }
        AppendOutcome::Deleted => {
            let is_gone = forks::prune(&*app.broker, name).await?;
            Err(if is_gone { Refusal::missing() } else { Refusal::deleted() })
        }
        refused => Err(refuse(refused, bad).at(at)),
    }
}

/// Returns the response to an append that is accepted.
pub(super) fn respond(status: StatusCode, at: Option<&StreamTail>) -> Response {
    let mut response = (status, Body::empty()).into_response();
    if let Some(at) = at {
        fields::set_tail(&mut response, at);
    }
    response
}

fn read_headers(headers: &HeaderMap) -> Result<Append, Problem> {
    let bad = |error: &dyn std::error::Error| Problem::bad_request(error.to_string());
    let producer = Producer::read(
        text(headers, &fields::PRODUCER_ID)?,
        text(headers, &fields::PRODUCER_EPOCH)?,
        text(headers, &fields::PRODUCER_SEQ)?,
    );
    let producer = producer.map_err(|error| bad(&error))?;
    let order = text(headers, &fields::SEQ)?.filter(|order| !order.is_empty());
    if let Some(order) = order.filter(|order| order.len() > MAX_ORDER) {
        let detail = format!("Stream-Seq has {} bytes; at most {MAX_ORDER} are allowed", order.len());
        return Err(Problem::bad_request(detail));
    }
    let end = fields::end(headers)?;
    Ok(Append { producer, order: order.map(str::to_owned), end, ..Append::default() })
}

/// Adds the body. What is wrong with it is only reported if nothing comes before it, so the stream is asked first. Returns the
/// problem of a body that is not JSON.
async fn fill(
    append: &mut Append,
    media_type: Result<Option<MediaType>, Problem>,
    body: &Bytes,
) -> Result<Option<Problem>, Problem> {
    if body.is_empty() {
        append.fault = append.end.is_none().then_some(BodyFault::Empty);
        return Ok(None);
    }
    let Some(media_type) = media_type? else {
        append.fault = Some(BodyFault::Untyped);
        return Ok(None);
    };
    let is_json = media_type.form() == Form::Json;
    let lines = stored(&media_type, body).await;
    append.media_type = Some(media_type);
    match lines {
        // An array without elements.
        Ok(lines) if lines.is_empty() && is_json => {
            append.fault = Some(BodyFault::Json);
            Ok(Some(Problem::bad_request("the body is an array without messages")))
        }
        Ok(lines) => {
            append.bytes = lines;
            Ok(None)
        }
        Err(problem) => {
            append.fault = Some(BodyFault::Json);
            Ok(Some(problem))
        }
    }
}

fn refuse(outcome: AppendOutcome, bad: Option<Problem>) -> Refusal {
    let conflict = |detail: &str| Refusal::new(Code::StreamConflict, detail);
    match outcome {
        AppendOutcome::Missing
        | AppendOutcome::Appended
        | AppendOutcome::Repeated(_)
        | AppendOutcome::Ended => Refusal::missing(),
        AppendOutcome::Deleted => Refusal::deleted(),
        AppendOutcome::Closed | AppendOutcome::Lapsed => {
            Refusal::new(Code::StreamClosed, "the stream has ended; nothing can be appended")
        }
        AppendOutcome::Fault(BodyFault::Empty) => {
            Problem::bad_request("the body is empty; send bytes, or Stream-Closed: true").into()
        }
        AppendOutcome::Fault(BodyFault::Untyped) => {
            Problem::bad_request("Content-Type is missing; send the media type of the stream").into()
        }
        AppendOutcome::Fault(BodyFault::Json) => {
            bad.unwrap_or_else(|| Problem::new(Code::BadJson, "the body is not JSON")).into()
        }
        AppendOutcome::Type => conflict("Content-Type is not the media type of the stream"),
        AppendOutcome::Stale(known) => {
            let detail = format!(
                "a producer of this id has begun the epoch {known}; this one must not append any more"
            );
            Refusal::new(Code::StaleProducer, detail).with(fields::PRODUCER_EPOCH, known)
        }
        AppendOutcome::Epoch => {
            Problem::bad_request("the first Producer-Seq of a new epoch must be 0").into()
        }
        AppendOutcome::Gap(expected, received) => {
            let detail = format!("Producer-Seq must be {expected}, the next of this producer");
            let refusal = Refusal::new(Code::ProducerGap, detail).with(fields::PRODUCER_EXPECTED, expected);
            refusal.with(fields::PRODUCER_RECEIVED, received)
        }
        AppendOutcome::Producers => conflict("the stream has finite.producers producers"),
        AppendOutcome::Order => {
            conflict("Stream-Seq must be greater than the last one of the stream, compared bytewise")
        }
        AppendOutcome::Large => {
            Refusal::new(Code::TooLarge, "the stream would have more than finite.stream_bytes bytes")
        }
    }
}
