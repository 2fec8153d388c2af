//! A body of unknown length, which is appended as it arrives: `llm | curl -X POST -T -`.
//!
//! What has arrived is one append. While it is on its way to Redis, nothing is read, so the sender is slowed down and one batch is
//! held.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use fanfare_broker::stream_store::{Append, AppendOutcome, Appended, BodyFault};
use fanfare_config::limits::BODY_COPIES;
use fanfare_protocol::finite::{End, EndKind, Form, MediaType};
use futures_util::FutureExt;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep, timeout};

use super::commit::{accepted, commit, respond};
use super::create::kib;
use super::refusal::Refusal;
use super::target::{Target, Use};
use crate::http::app::App;
use crate::http::problem::{Code, Problem};
use crate::memory;
use crate::rates::{Kind, RateLimited};
use crate::request_info::RequestInfo;

/// Size of a batch, in bytes, from which on it is appended before more is read.
const BATCH: usize = 64 * 1024;

/// Returns whether a body is appended as it arrives: its length is not known, it is not JSON, which is checked as a whole, and it has
/// no number that stands for all of it, and it does not cancel the stream, which is one step.
pub(super) fn is_piped(
    parts: &Parts,
    body: &Body,
    append: &Append,
    media_type: &Result<Option<MediaType>, Problem>,
) -> bool {
    let is_numbered = append.producer.is_some() || append.order.is_some();
    let cancels = append.end.as_ref().is_some_and(|end| end.kind == EndKind::Cancelled);
    let is_json = matches!(media_type, Ok(Some(media_type)) if media_type.form() == Form::Json);
    let has_length = parts.headers.contains_key(CONTENT_LENGTH) || body.size_hint().exact().is_some();
    !has_length && !is_numbered && !is_json && !cancels
}

/// Why no more of a body is appended.
enum Stop {
    /// It has ended.
    End,
    /// It broke off.
    BrokenOff,
    /// It paused for too long.
    Idle,
    /// The node drains.
    Draining,
}

/// Appends a body as it arrives, and then the end. What was appended before a failure stays, and the stream is open then.
///
/// # Errors
///
/// Fails like [`super::append::append`], if the body breaks off or pauses for too long, or if the node drains. The response says where
/// the stream ends.
pub(super) async fn append(
    app: &Arc<App>,
    (parts, target): (&Parts, Target),
    mut body: Body,
    (media_type, end): (Option<MediaType>, Option<End>),
) -> Result<Response, Refusal> {
    let _room = room(app, parts)?;
    let mut piped = Piped { app: Arc::clone(app), target, media_type, last: None, checked: Instant::now() };
    piped.probe().await?;
    loop {
        let (bytes, stop) = next(app, &mut body).await;
        let is_last = matches!(stop, Some(Stop::End));
        let ends = is_last && end.is_some();
        if !bytes.is_empty() || ends || (is_last && piped.last.is_none()) {
            piped.append(parts, bytes, end.clone().filter(|_| ends)).await?;
        }
        let Some(stop) = stop else { continue };
        let last = piped.last.take().and_then(|last| last.at);
        let problem = match stop {
            Stop::End => return Ok(respond(StatusCode::NO_CONTENT, last.as_ref())),
            Stop::BrokenOff => Problem::bad_request("the body ended early; what had arrived was appended"),
            Stop::Idle => {
                let idle = humantime::format_duration(app.finite.append_idle);
                let detail = format!("nothing of the body arrived for {idle} (finite.append_idle)");
                Problem::new(Code::RequestTimeout, detail)
            }
            Stop::Draining => {
                let detail =
                    "this node is shutting down; what had arrived was appended, another node takes the rest";
                Problem::new(Code::Draining, detail)
            }
        };
        return Err(Refusal::from(problem).at(last));
    }
}

/// A body that is being appended.
struct Piped {
    app: Arc<App>,
    target: Target,
    media_type: Option<MediaType>,
    /// The last append.
    last: Option<Appended>,
    /// When the bearer was authenticated.
    checked: Instant,
}

impl Piped {
    /// Asks whether bytes can be appended, before any is read. A body with a fault changes nothing, and the fault is reported only if
    /// nothing else is wrong.
    async fn probe(&self) -> Result<(), Refusal> {
        let Some(media_type) = self.media_type.clone() else { return Ok(()) };
        let probe =
            Append { media_type: Some(media_type), fault: Some(BodyFault::Json), ..Append::default() };
        let asked = self.app.broker.append_stream(&self.target.name, &probe).await?;
        if asked.outcome == AppendOutcome::Fault(BodyFault::Json) {
            return Ok(());
        }
        accepted(&self.app, &self.target.name, asked, None).await.map(drop)
    }

    /// Appends a batch, the end, or both.
    async fn append(&mut self, parts: &Parts, bytes: Bytes, end: Option<End>) -> Result<(), Refusal> {
        let result = self.try_append(parts, bytes, end).await;
        // The response says what was accepted.
        result.map_err(|refusal| refusal.or_at(self.last.take().and_then(|last| last.at)))
    }

    async fn try_append(&mut self, parts: &Parts, bytes: Bytes, end: Option<End>) -> Result<(), Refusal> {
        self.check_again(parts).await?;
        self.admit(bytes.len()).await?;
        let mut append = Append { end, ..Append::default() };
        if bytes.is_empty() {
            append.fault = append.end.is_none().then_some(BodyFault::Empty);
        } else {
            append.fault = self.media_type.is_none().then_some(BodyFault::Untyped);
            append.media_type.clone_from(&self.media_type);
            append.bytes = bytes;
        }
        self.last = Some(commit(&self.app, &self.target.name, &append, None).await?);
        Ok(())
    }

    /// Authenticates the bearer again from time to time: the token may have expired or been revoked since the request began.
    async fn check_again(&mut self, parts: &Parts) -> Result<(), Refusal> {
        if self.checked.elapsed() >= self.app.finite.live_age {
            self.target = Target::of(&self.app, parts, Use::Write).await?;
            self.checked = Instant::now();
        }
        Ok(())
    }

    /// Charges a batch to the rates of the caller. They refuse the first one, and slow the rest down.
    async fn admit(&self, bytes: usize) -> Result<(), RateLimited> {
        for (kind, n) in [(Kind::Bytes, kib(bytes)), (Kind::Events, 1)] {
            if self.last.is_none() {
                self.app.rates.admit(kind, self.target.caller(), n)?;
                continue;
            }
            while let Err(limited) = self.app.rates.check(kind, self.target.caller(), n) {
                sleep(limited.wait.max(Duration::from_millis(1))).await;
            }
        }
        Ok(())
    }
}

/// Reserves memory for one batch.
fn room(app: &App, parts: &Parts) -> Result<memory::Permit, memory::NoRoom> {
    let account = RequestInfo::of(&parts.extensions).map(|info| info.account.clone());
    let account = account.unwrap_or_else(|| app.memory.account(None));
    account.take(memory::Kind::Bodies, BODY_COPIES * BATCH)
}

/// Waits for the next bytes, and takes what else has arrived. Returns why there are no more.
async fn next(app: &App, body: &mut Body) -> (Bytes, Option<Stop>) {
    let mut batch = BytesMut::new();
    let ending = app.finite.readers.ending();
    let draining = async {
        ending.cancelled().await;
        sleep(app.finite.drain_window.mul_f64(fastrand::f64())).await;
    };
    // A frame that has arrived is in the body until it is taken; the other branch only waits.
    let mut frame = tokio::select! {
        biased;
        frame = timeout(app.finite.append_idle, body.frame()) => match frame {
            Ok(frame) => Some(frame),
            Err(_) => return (Bytes::new(), Some(Stop::Idle)),
        },
        () = draining => return (Bytes::new(), Some(Stop::Draining)),
    };
    while let Some(arrived) = frame {
        match arrived {
            None => return (batch.freeze(), Some(Stop::End)),
            Some(Err(_)) => return (batch.freeze(), Some(Stop::BrokenOff)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    batch.extend_from_slice(&data);
                }
            }
        }
        if batch.len() >= BATCH {
            break;
        }
        frame = body.frame().now_or_never();
    }
    (batch.freeze(), None)
}
