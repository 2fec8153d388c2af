//! A stream whose bytes are timed: whether something on the way holds them back.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Version};

use crate::api_client::ApiClient;
use crate::error::{self, Error};

/// An open stream, read as bytes.
pub struct StreamProbe {
    /// Version of HTTP, like `HTTP/1.1`.
    pub version: Version,
    /// Coding of the response; `None` if it is not compressed.
    pub coding: Option<String>,
    lengths: BoxStream<'static, reqwest::Result<usize>>,
}

impl StreamProbe {
    /// Opens a stream without channels whose heartbeat is as short as a client may ask for. `gzip`: accepts a compressed response.
    ///
    /// # Errors
    ///
    /// Fails if the server cannot be reached, refuses the stream, or answers with something else.
    pub async fn open(client: &ApiClient, heartbeat: Duration, gzip: bool) -> Result<Self, Error> {
        let mut url = client.url(&["v1", "events"]);
        url.query_pairs_mut().append_pair("heartbeat", &heartbeat.as_secs().max(1).to_string());
        let request = client.request(Method::GET, url)?;
        let request = request
            .header(ACCEPT, "text/event-stream")
            .header(ACCEPT_ENCODING, if gzip { "gzip" } else { "identity" })
            .header("prefer", "status");
        let response = request.send().await.map_err(|error| client.failed(&error))?;
        let (status, version) = (response.status(), response.version());
        let text = |headers: &HeaderMap, name| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let coding = text(response.headers(), CONTENT_ENCODING);
        if !status.is_success() {
            let body = response.bytes().await.unwrap_or_default();
            return Err(error::problem(status, &body).into());
        }
        let kind = text(response.headers(), CONTENT_TYPE).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("text/event-stream") {
            return Err(Error::NotAStream(essence.to_owned()));
        }
        Ok(Self { version, coding, lengths: response.bytes_stream().map_ok(|bytes| bytes.len()).boxed() })
    }

    /// Waits for the next bytes. Returns their number; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks.
    pub async fn next(&mut self) -> Result<Option<usize>, Error> {
        self.lengths
            .try_next()
            .await
            .map_err(|error| Error::StreamFailed(error::innermost(&error).to_string()))
    }
}
