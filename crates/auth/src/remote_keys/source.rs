//! Fetches a JWK set.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};

use super::RemoteSettings;
use crate::http_client::{self, HttpClient, RequestError, Server};
use crate::jwk::{self, JwkSetError, Secrets};
use crate::key::Key;

pub use crate::http_client::ClientError as SourceError;

/// Maximum size of a JWK set, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Media types of JWK sets (RFC 7517, section 8.5.2). Others are accepted too.
const MEDIA_TYPES: &str = "application/jwk-set+json, application/json";

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// There is no whole response.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Another status than 200.
    #[error("the response has the status {}", http_client::shown(*.0))]
    Status(StatusCode),
    /// The content is not a JWK set that can be used.
    #[error("the response {0}")]
    Set(#[from] JwkSetError),
}

/// A fetched set.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// At least one key.
    pub(crate) keys: Vec<Key>,
    /// `max-age`, if the response has it.
    pub(crate) max_age: Option<Duration>,
}

/// A URL with a JWK set.
#[derive(Debug)]
pub(crate) struct Source(HttpClient);

impl Source {
    /// Creates the source. Reads the trusted certificates.
    ///
    /// # Errors
    ///
    /// Fails if the URL is malformed, or if there are no certificates to trust.
    pub(crate) fn new(settings: &RemoteSettings) -> Result<Self, SourceError> {
        let RemoteSettings { url, ca, timeout, .. } = settings.clone();
        // Minutes pass between two fetches, so no connection is kept.
        Ok(Self(HttpClient::new(&Server { url, ca, timeout, idle: 0, max_bytes: MAX_BYTES })?))
    }

    /// Fetches the set once. Its keys are at least one, and its size is bounded.
    pub(crate) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MEDIA_TYPES))]);
        let response = self.0.get(headers).await?;
        if response.status != StatusCode::OK {
            return Err(FetchError::Status(response.status));
        }
        let max_age = http_client::max_age(&response.headers);
        Ok(Fetched { keys: keys(&response.body)?, max_age })
    }
}

/// Returns the keys of a response's content; at least one, and no secret.
///
/// # Errors
///
/// Fails if the content is not a set of keys that can be used.
pub fn keys(text: &[u8]) -> Result<Vec<Key>, JwkSetError> {
    jwk::keys(text, Secrets::Ignored)
}
