//! HTTP client of the commands that call a server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
#[cfg(doc)]
use fanfare_api::ProblemDetails;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use crate::{problem, trust};

/// Timeout for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a call that is not a stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Address and credentials. Not `Debug`, since it may contain a token.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// URL of a node, or of the load balancer in front of the nodes.
    #[arg(
        long,
        env = "FANFARE_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        value_parser = base_url
    )]
    server: Url,
    /// PEM file with the certificates to trust in place of the system's, for https.
    #[arg(long, env = "FANFARE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Token. Arguments are visible to other users of this machine: prefer `FANFARE_TOKEN` or `--token-file`.
    #[arg(long, env = "FANFARE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// File with the token. Overrides --token; read again for each connection.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A client of one server.
pub(crate) struct Server {
    args: ServerArgs,
    http: reqwest::Client,
}

impl Server {
    /// Creates a client. `silence` is the maximum time without data before a response counts as dead.
    pub(crate) fn new(args: ServerArgs, silence: Option<Duration>) -> anyhow::Result<Self> {
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust::of_server(&args.server, args.ca.as_deref())?)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")));
        if let Some(silence) = silence {
            http = http.read_timeout(silence);
        }
        Ok(Self { args, http: http.build().context("failed to set up the HTTP client")? })
    }

    /// Returns the URL of a call; each part of the path may have any character.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.args.server.clone();
        // `base_url` accepts only URLs that can have a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Creates a request with the token.
    pub(crate) fn request(&self, method: Method, url: Url) -> anyhow::Result<RequestBuilder> {
        let mut request = self.http.request(method, url);
        if let Some(token) = self.token()? {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .context("the token has characters that are not allowed in a header")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Sends a request and parses the JSON response.
    ///
    /// # Errors
    ///
    /// Fails if the server cannot be reached, refuses the request ([`ProblemDetails`]), or returns something else.
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let response = request.timeout(CALL_TIMEOUT).send().await.map_err(|e| self.unreachable(&e))?;
        let response = accepted(response).await?;
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        serde_json::from_slice(&body).with_context(|| {
            format!("unexpected response from {} (is this a Fanfare server?)", self.args.server)
        })
    }

    /// Sends a `GET` request and parses the JSON response.
    ///
    /// # Errors
    ///
    /// See [`Server::call`].
    pub(crate) async fn get<T: DeserializeOwned>(&self, url: Url) -> anyhow::Result<T> {
        self.call(self.request(Method::GET, url)?).await
    }

    /// Returns the error of a request without a response: the address and the innermost cause.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let refused = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
        let at = self.args.server.as_str().trim_end_matches('/');
        if refused {
            anyhow::anyhow!(
                "cannot connect to {at}: connection refused (set the server with --server or FANFARE_SERVER)"
            )
        } else if error.is_timeout() {
            anyhow::anyhow!("timed out waiting for {at}")
        } else {
            anyhow::anyhow!("cannot connect to {at}: {cause}")
        }
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.args.token_file else { return Ok(self.args.token.clone()) };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the token file {}", file.display()))?;
        // Some editors write a byte order mark.
        let token = text.trim_start_matches('\u{feff}').trim();
        if token.is_empty() {
            bail!("the token file {} is empty", file.display());
        }
        Ok(Some(token.to_owned()))
    }
}

/// Returns the response if it is successful.
///
/// # Errors
///
/// Returns the [`ProblemDetails`] of an error response.
pub(crate) async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.unwrap_or_default();
    Err(problem::read(status, &body).into())
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{e}; expected a URL like http://127.0.0.1:8080"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("expected a URL like http://127.0.0.1:8080 or https://sse.example".into());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(address: &str) -> Server {
        let args = ServerArgs { server: base_url(address).unwrap(), ca: None, token: None, token_file: None };
        Server::new(args, None).unwrap()
    }

    #[test]
    fn each_part_of_a_path_is_escaped() {
        let url = server("http://h:1").url(&["v1", "channels", "a/b%c?d#e", "events"]);
        assert_eq!(url.as_str(), "http://h:1/v1/channels/a%2Fb%25c%3Fd%23e/events");
    }

    #[test]
    fn a_server_behind_a_path_is_reached() {
        for address in ["http://h:1/sse", "http://h:1/sse/"] {
            assert_eq!(server(address).url(&["v1", "nodes"]).as_str(), "http://h:1/sse/v1/nodes");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "127.0.0.1:8080", "ftp://h", "http://", "https://"] {
            assert!(base_url(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = server(&format!("http://{free}"));
        let error = server.get::<serde_json::Value>(server.url(&["v1", "nodes"])).await.unwrap_err();
        assert!(error.to_string().contains(&free.to_string()), "{error}");
        assert!(error.to_string().contains("--server"), "{error}");
    }
}
