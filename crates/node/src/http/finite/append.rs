//! `POST`: appends bytes, ends the stream, or both.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use fanfare_broker::stream_store::{Append, AppendOutcome, Appended, BodyFault};
use fanfare_protocol::finite::{Form, MediaType, Producer};
use http::{HeaderMap, StatusCode};

use super::commit::{commit, respond};
use super::create::{kib, media_type, stored};
use super::fields::{self, text};
use super::piped;
use super::refusal::Refusal;
use super::target::{Target, Use};
use crate::http::app::App;
use crate::http::problem::Problem;
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
