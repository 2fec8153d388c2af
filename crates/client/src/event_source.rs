//! A stream that reconnects and resumes automatically, like the standard's `EventSource`. Unlike the standard, it
//! backs off while the server is unavailable, and an error of a gateway does not end it.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::pin::Pin;
use std::time::Duration;

use fanfare_protocol::sse::Format;
use futures_util::{Stream, StreamExt};
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use sse_stream::{Sse, SseByteStream};

use crate::api_client::ApiClient;
use crate::error::{self, Error};
use crate::message::{Block, Message};
use crate::stream_request::StreamRequest;

/// Reconnection time until the server sends `retry:`.
const RETRY: Duration = Duration::from_secs(2);
/// Maximum reconnection time that a server may set.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// Maximum backoff while the server is unavailable, unless the server set a longer time.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

type Blocks = Pin<Box<dyn Stream<Item = Result<Sse, sse_stream::Error>> + Send>>;

/// The result of one step.
#[derive(Debug)]
pub enum Step {
    /// A message was received.
    Message(Message),
    /// A malformed message was received and skipped.
    Malformed(Error),
    /// The connection ended or failed. The next call waits and then reconnects.
    Lost {
        /// The reason.
        why: Error,
        /// Time until the reconnect.
        wait: Duration,
    },
    /// The server answered with status 204: the client must not reconnect.
    Done,
}

enum State {
    Waiting(Duration),
    Open(Blocks),
}

/// Reason why there is no stream.
enum Refusal {
    /// Temporary failure, with the server's `Retry-After`.
    Passing(Error, Option<Duration>),
    /// Permanent failure.
    Final(Error),
    /// Status 204: the client must not reconnect.
    Done,
}

/// A stream: its connection, and the state that survives reconnects.
pub struct EventSource {
    client: ApiClient,
    url: Url,
    format: Format,
    /// The last `id:`, sent as `Last-Event-ID`; empty before the first.
    cursor: String,
    /// The last `retry:`.
    retry: Duration,
    /// Number of successive connections without a message.
    failures: u32,
    state: State,
}

impl EventSource {
    /// Creates a stream that connects at the first [`EventSource::next`].
    pub fn new(client: ApiClient, request: &StreamRequest) -> Self {
        let url = request.append_to(client.url(&["v1", "events"]));
        let state = State::Waiting(Duration::ZERO);
        let format = request.format;
        Self { client, url, format, cursor: String::new(), retry: RETRY, failures: 0, state }
    }

    /// Returns the last `id:`; empty before the first.
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// Waits for the next step. Not cancel-safe: a connection attempt or a wait that is dropped begins again.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses the stream permanently.
    pub async fn next(&mut self) -> Result<Step, Error> {
        loop {
            match &mut self.state {
                State::Waiting(wait) => {
                    tokio::time::sleep(*wait).await;
                    match self.connect().await {
                        Ok(blocks) => self.state = State::Open(blocks),
                        Err(Refusal::Passing(why, after)) => return Ok(self.lost(why, after)),
                        Err(Refusal::Final(error)) => return Err(error),
                        Err(Refusal::Done) => return Ok(Step::Done),
                    }
                }
                State::Open(blocks) => match blocks.next().await {
                    Some(Ok(block)) => {
                        if let Some(block) = self.take(block) {
                            return Ok(
                                Message::read(block, self.format).map_or_else(Step::Malformed, Step::Message)
                            );
                        }
                    }
                    Some(Err(error)) => {
                        let why = Error::StreamFailed(error::innermost(&error).to_string());
                        return Ok(self.lost(why, None));
                    }
                    None => return Ok(self.lost(Error::StreamEnded, None)),
                },
            }
        }
    }

    /// Stores a block's `retry:` and `id:`. Returns its message, if it has one.
    fn take(&mut self, block: Sse) -> Option<Block> {
        if let Some(ms) = block.retry {
            self.retry = Duration::from_millis(ms).min(LONGEST_RETRY);
        }
        if let Some(id) = &block.id {
            self.cursor.clone_from(id);
        }
        let data = block.data?;
        let kind = block.event.filter(|kind| !kind.is_empty());
        // An `overloaded` event is not a success.
        if kind.as_deref() != Some("overloaded") {
            self.failures = 0;
        }
        Some(Block { kind, data, id: block.id })
    }

    /// Schedules a reconnect. After a stream with messages it uses `retry:`, which the server has randomized already.
    /// Otherwise the time doubles with each failure and is randomized here.
    fn lost(&mut self, why: Error, after: Option<Duration>) -> Step {
        let mut wait = self.retry;
        if self.failures > 0 {
            let longest = LONGEST_BACKOFF.max(self.retry);
            let doubled = self.retry.saturating_mul(1 << self.failures.min(16)).min(longest);
            wait = doubled.mul_f64(0.5 + fastrand::f64() / 2.0).max(self.retry);
        }
        if let Some(after) = after {
            wait = wait.max(after.min(LONGEST_RETRY));
        }
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting(wait);
        Step::Lost { why, wait }
    }

    async fn connect(&self) -> Result<Blocks, Refusal> {
        let mut request = self
            .client
            .request(Method::GET, self.url.clone())
            .map_err(Refusal::Final)?
            .header(ACCEPT, "text/event-stream")
            .header(CACHE_CONTROL, "no-store");
        if !self.cursor.is_empty() {
            let cursor = HeaderValue::from_str(&self.cursor).map_err(|_| Refusal::Final(Error::Cursor))?;
            request = request.header("last-event-id", cursor);
        }
        let response =
            request.send().await.map_err(|error| Refusal::Passing(self.client.failed(&error), None))?;
        checked(response).await
    }
}

/// Returns the stream of a response.
async fn checked(response: Response) -> Result<Blocks, Refusal> {
    let status = response.status();
    if status == StatusCode::OK {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("text/event-stream") {
            return Err(Refusal::Final(Error::NotAStream(essence.to_owned())));
        }
        return Ok(Box::pin(SseByteStream::new(response.bytes_stream())));
    }
    if status == StatusCode::NO_CONTENT {
        return Err(Refusal::Done);
    }
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.bytes().await.unwrap_or_default();
    let problem = error::problem(status, &body).into();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Err(Refusal::Passing(problem, after.map(Duration::from_secs)))
    } else {
        Err(Refusal::Final(problem))
    }
}
