//! Fetches a JWK set.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

use super::RemoteSettings;
use crate::jwk::{self, JwkSetError, Secrets};
use crate::key::Key;

/// Maximum size of a JWK set, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Media types of JWK sets (RFC 7517, section 8.5.2). Others are accepted too.
const MEDIA_TYPES: &str = "application/jwk-set+json, application/json";

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URL is malformed.
    #[error("{0} is not a URL")]
    Url(String),
    /// The file with certificates cannot be used.
    #[error("{0} contains no certificate that can be trusted: {1}")]
    Certificates(String, #[source] pem::Error),
    /// A certificate in the file cannot be used, or the TLS library failed.
    #[error("failed to set up TLS for {0}: {1}")]
    Tls(String, #[source] rustls::Error),
    /// The system has no certificates.
    #[error("this system has no trusted certificates for {0}: set a file with jwks_ca")]
    NoCertificates(String),
    /// The HTTP client cannot be set up.
    #[error("failed to set up the HTTP client for {0}: {1}")]
    Client(String, #[source] reqwest::Error),
}

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No connection, a TLS error, a timeout, or a response that is cut.
    #[error("{0}")]
    Http(String),
    /// Another status than 200.
    #[error("the response has the status {}", status(*.0))]
    Status(StatusCode),
    /// More bytes than are allowed.
    #[error("the response has more than {} KiB", MAX_BYTES / 1024)]
    TooLarge,
    /// The content is not a JWK set that can be used.
    #[error("the response {0}")]
    Set(#[from] JwkSetError),
}

fn status(status: StatusCode) -> String {
    let note = if status.is_redirection() { "; redirects are not followed" } else { "" };
    format!("{}{note}", status.as_u16())
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
pub(crate) struct Source {
    http: Client,
    url: Url,
}

impl Source {
    /// Creates the source. Reads the trusted certificates.
    ///
    /// # Errors
    ///
    /// Fails if the URL is malformed, or if there are no certificates to trust.
    pub(crate) fn new(settings: &RemoteSettings) -> Result<Self, SourceError> {
        let shown = || settings.url.clone();
        let url = Url::parse(&settings.url).map_err(|_| SourceError::Url(shown()))?;
        let mut roots = RootCertStore::empty();
        match &settings.ca {
            Some(file) => trust(file, &mut roots)?,
            None if url.scheme() == "https" => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(SourceError::NoCertificates(shown()));
                }
            }
            None => {}
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SourceError::Tls(shown(), error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(settings.timeout)
            .redirect(Policy::none())
            // Only settings are read from the environment.
            .no_proxy()
            // Minutes pass between two fetches.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SourceError::Client(shown(), error))?;
        Ok(Self { http, url })
    }

    /// Fetches the set once. Its keys are at least one, and its size is bounded.
    pub(crate) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let request = self.http.get(self.url.clone()).header(ACCEPT, MEDIA_TYPES);
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let max_age = max_age(response.headers());
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if text.len() + chunk.len() > MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            text.extend_from_slice(&chunk);
        }
        Ok(Fetched { keys: jwk::keys(&text, Secrets::Ignored)?, max_age })
    }
}

/// Adds the certificates of a PEM file.
fn trust(file: &Path, roots: &mut RootCertStore) -> Result<(), SourceError> {
    let name = || file.display().to_string();
    let unusable = |error| SourceError::Certificates(name(), error);
    for certificate in CertificateDer::pem_file_iter(file).map_err(unusable)? {
        roots.add(certificate.map_err(unusable)?).map_err(|error| SourceError::Tls(name(), error))?;
    }
    if roots.is_empty() { Err(unusable(pem::Error::NoItemsFound)) } else { Ok(()) }
}

/// Returns an error with its causes, without the URL.
fn failed(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    FetchError::Http(text)
}

/// Returns `max-age` of `Cache-Control` (RFC 9111, section 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    let mut directives = values.flat_map(|line| line.split(','));
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_set_is_read_from_its_header() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, value.parse().unwrap());
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(of("public, max-age=3600, must-revalidate"), Some(3600));
        assert_eq!(of("Max-Age=\"5\""), Some(5));
        for other in ["no-cache", "max-age", "max-age=x", "max-age=-1", "s-maxage=5"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
