//! The calls about finite streams.

use std::time::Duration;

use fanfare_api::finite_streams::FiniteStreamPage;
use fanfare_protocol::finite::{End, EndKind, Producer, StreamName};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use crate::api_client::ApiClient;
use crate::error::{self, Error};

/// Maximum time of a read that waits for bytes. One that takes longer is asked again, and nothing is lost.
const LONG_POLL: Duration = Duration::from_mins(1);
/// The media type of streams of messages.
const JSON: &str = "application/json";

/// What a stream is created with.
#[derive(Clone, Debug, Default)]
pub struct NewStream {
    /// What its bytes are.
    pub media_type: String,
    /// Seconds after the last read or write for which it is kept.
    pub ttl: Option<u64>,
}

/// What is appended to a stream.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The bytes; may be empty if there is an end.
    pub bytes: Vec<u8>,
    /// What they are.
    pub media_type: String,
    /// Numbers by which an append that is repeated counts once.
    pub producer: Option<Producer>,
    /// How the stream ends.
    pub end: Option<End>,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was appended, now or before. With the end of the stream, if it has ended.
    Done(Option<End>),
    /// The stream had ended.
    Closed(End),
}

/// Bytes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The bytes; of JSON an array.
    pub bytes: Vec<u8>,
    /// Whether they are an array of messages.
    pub is_json: bool,
    /// Where to go on.
    pub next: String,
    /// Whether these were all bytes.
    pub up_to_date: bool,
    /// The end, if the stream has ended and these were all bytes.
    pub end: Option<End>,
}

/// The calls about one stream. Each fails like those of [`ApiClient`].
impl ApiClient {
    /// Creates a stream. Returns false if it exists with the same settings.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`]. One that exists with other settings is the problem `stream-exists`.
    pub async fn create_stream(&self, name: &StreamName, new: &NewStream) -> Result<bool, Error> {
        let mut request =
            self.request(Method::PUT, self.stream_url(name))?.header(CONTENT_TYPE, &new.media_type);
        if let Some(ttl) = new.ttl {
            request = request.header("Stream-TTL", ttl.to_string());
        }
        let response = self.stream_response(request, self.call_timeout()).await?;
        Ok(refuse(response).await?.status() == StatusCode::CREATED)
    }

    /// Appends bytes, ends the stream, or both.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn append_stream(&self, name: &StreamName, append: &Append) -> Result<Appended, Error> {
        let mut request = self.request(Method::POST, self.stream_url(name))?;
        if !append.bytes.is_empty() {
            request = request.header(CONTENT_TYPE, &append.media_type).body(append.bytes.clone());
        }
        if let Some(Producer { id, epoch, seq }) = &append.producer {
            request = request.header("Producer-Id", id).header("Producer-Epoch", epoch.to_string());
            request = request.header("Producer-Seq", seq.to_string());
        }
        if let Some(End { kind, reason }) = &append.end {
            request = request.header("Stream-Closed", "true").header("Stream-End", kind.as_str());
            if !reason.is_empty() {
                request = request.header("Stream-End-Reason", reason);
            }
        }
        let response = self.stream_response(request, self.call_timeout()).await?;
        match end(response.headers()) {
            Some(end) if response.status() == StatusCode::CONFLICT => Ok(Appended::Closed(end)),
            end => refuse(response).await.map(|_| Appended::Done(end)),
        }
    }

    /// Reads the bytes from an offset on, as many as the server sends at once. With `wait`, waits for some if there are none.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn read_stream(&self, name: &StreamName, offset: &str, wait: bool) -> Result<Page, Error> {
        let mut url = self.stream_url(name);
        url.query_pairs_mut().append_pair("offset", offset);
        if wait {
            url.query_pairs_mut().append_pair("live", "long-poll");
        }
        let request = self.request(Method::GET, url)?;
        let response =
            self.stream_response(request, if wait { LONG_POLL } else { self.call_timeout() }).await?;
        let response = refuse(response).await?;
        let text = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let media_type = text("content-type").unwrap_or_default();
        let is_json = media_type.split(';').next().is_some_and(|one| one.trim().eq_ignore_ascii_case(JSON));
        let next = text("stream-next-offset").unwrap_or_else(|| offset.to_owned());
        let (up_to_date, end) = (text("stream-up-to-date").is_some(), end(response.headers()));
        let bytes = response.bytes().await.map_err(|error| self.failed(&error))?.into();
        Ok(Page { bytes, is_json, next, up_to_date, end })
    }

    /// Returns a page of all streams: the first one, or the one behind another.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn list_streams(&self, after: Option<&str>) -> Result<FiniteStreamPage, Error> {
        let mut url = self.url(&["v1", "streams"]);
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", after);
        }
        self.object(self.request(Method::GET, url)?).await
    }

    /// Returns the URL of a stream, whose name is a text of paths.
    fn stream_url(&self, name: &StreamName) -> Url {
        let mut url = self.url(&["v1", "stream"]);
        url.set_path(&format!("{}/{}", url.path(), name.as_str()));
        url
    }

    async fn stream_response(&self, request: RequestBuilder, timeout: Duration) -> Result<Response, Error> {
        request.timeout(timeout).send().await.map_err(|error| self.failed(&error))
    }
}

/// Returns a response, or the problem that it is.
async fn refuse(response: Response) -> Result<Response, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // The status says more than a broken body.
    Err(error::problem(status, &response.bytes().await.unwrap_or_default()).into())
}

/// Returns the end of a stream that a response tells.
fn end(headers: &HeaderMap) -> Option<End> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text("stream-closed")?;
    let kind = text("stream-end").and_then(EndKind::named).unwrap_or(EndKind::Complete);
    Some(End { kind, reason: text("stream-end-reason").unwrap_or_default().to_owned() })
}
