//! Requests to a server of the settings: bounded in time and bytes, without redirects and proxies.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::retry;
use reqwest::{Client, StatusCode, Url};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// Time for which an idle connection is kept.
const IDLE: Duration = Duration::from_secs(3);

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
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
    #[error("this system has no trusted certificates for {0}: set a file with certificates")]
    NoCertificates(String),
    /// The HTTP client cannot be set up.
    #[error("failed to set up the HTTP client for {0}: {1}")]
    Client(String, #[source] reqwest::Error),
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// No connection, a TLS error, a timeout, or a response that is cut.
    #[error("{0}")]
    Http(String),
    /// More bytes than are allowed.
    #[error("the response has more than {} KiB", .0 / 1024)]
    TooLarge(usize),
}

/// The server of a URL.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    /// PEM file with the certificates to trust in place of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Timeout of a request, body included.
    pub(crate) timeout: Duration,
    /// Maximum number of connections that are kept open.
    pub(crate) idle: usize,
    /// Maximum size of a body, in bytes.
    pub(crate) max_bytes: usize,
}

/// A response. Only one with status 200 has its body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// The client of one URL.
#[derive(Debug)]
pub(crate) struct HttpClient {
    http: Client,
    url: Url,
    max_bytes: usize,
}

impl HttpClient {
    /// Creates the client. Reads the trusted certificates.
    ///
    /// # Errors
    ///
    /// Fails if the URL is malformed, or if there are no certificates to trust.
    pub(crate) fn new(server: &Server) -> Result<Self, ClientError> {
        let shown = || server.url.clone();
        let url = Url::parse(&server.url).map_err(|_| ClientError::Url(shown()))?;
        let mut roots = RootCertStore::empty();
        match &server.ca {
            Some(file) => trust(file, &mut roots)?,
            None if url.scheme() == "https" => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(ClientError::NoCertificates(shown()));
                }
            }
            None => {}
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Tls(shown(), error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(server.timeout)
            .redirect(Policy::none())
            .retry(once_if_closed(url.host_str().unwrap_or_default()))
            // Only settings are read from the environment.
            .no_proxy()
            .pool_max_idle_per_host(server.idle)
            // Less than servers keep idle connections.
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Client(shown(), error))?;
        Ok(Self { http, url, max_bytes: server.max_bytes })
    }

    /// Sends a `GET`.
    ///
    /// # Errors
    ///
    /// Fails if there is no whole response in time, or its body is too large.
    pub(crate) async fn get(&self, headers: HeaderMap) -> Result<Response, RequestError> {
        let request = self.http.get(self.url.clone()).headers(headers);
        let mut response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        if status == StatusCode::OK {
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if body.len() + chunk.len() > self.max_bytes {
                    return Err(RequestError::TooLarge(self.max_bytes));
                }
                body.extend_from_slice(&chunk);
            }
        }
        Ok(Response { status, headers, body })
    }
}

/// Sends a request again, once and for few of many requests, if its connection ended without a response: servers close idle
/// connections, and may do so while the request is on its way (RFC 9112, section 9.3.1).
fn once_if_closed(host: &str) -> retry::Builder {
    retry::for_host(host.to_owned()).max_retries_per_request(1).classify_fn(|attempt| {
        if attempt.error().is_some_and(is_closed) { attempt.retryable() } else { attempt.success() }
    })
}

/// Returns whether an error, or a cause of it, is that the server closed the connection.
fn is_closed(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let is_cut = error.downcast_ref().is_some_and(hyper::Error::is_incomplete_message);
        let kind = error.downcast_ref().map(io::Error::kind);
        if is_cut || matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Returns a status for an error.
pub(crate) fn shown(status: StatusCode) -> String {
    let note = if status.is_redirection() { "; redirects are not followed" } else { "" };
    format!("{}{note}", status.as_u16())
}

/// Adds the certificates of a PEM file.
fn trust(file: &Path, roots: &mut RootCertStore) -> Result<(), ClientError> {
    let name = || file.display().to_string();
    let unusable = |error| ClientError::Certificates(name(), error);
    for certificate in CertificateDer::pem_file_iter(file).map_err(unusable)? {
        roots.add(certificate.map_err(unusable)?).map_err(|error| ClientError::Tls(name(), error))?;
    }
    if roots.is_empty() { Err(unusable(pem::Error::NoItemsFound)) } else { Ok(()) }
}

/// Returns an error with its causes, without the URL.
fn failed(error: reqwest::Error) -> RequestError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    RequestError::Http(text)
}

/// Returns `max-age` of `Cache-Control` (RFC 9111, section 5.2.2.1).
pub(crate) fn max_age(headers: &HeaderMap) -> Option<Duration> {
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
    fn the_age_of_a_response_is_read_from_its_header() {
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
