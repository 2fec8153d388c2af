//! What becomes of an append, and its response.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use fanfare_broker::forks;
use fanfare_broker::stream_store::{Append, AppendOutcome, Appended, BodyFault, StreamTail};
use fanfare_protocol::finite::StreamName;
use http::StatusCode;

use super::fields;
use super::refusal::Refusal;
use crate::http::app::App;
use crate::http::problem::{Code, Problem};

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
