//! The server that a client command talks to.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::trust;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call that is no stream may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the server is, and who asks. Not `Debug`: it may hold a token.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// The address of a node, or of the load balancer before them.
    #[arg(
        long,
        env = "FANFARE_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        value_parser = base_url
    )]
    server: Url,
    /// A PEM file with the certificates to trust instead of the system's, for https.
    #[arg(long, env = "FANFARE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The token to show. Other users of this machine can see arguments: prefer `FANFARE_TOKEN` or `--token-file`.
    #[arg(long, env = "FANFARE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A file that holds the token; it wins over --token, and is read again at each connect.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A client of one server.
pub(crate) struct Server {
    args: ServerArgs,
    http: reqwest::Client,
}

impl Server {
    /// A client. `silence` is how long an open answer may bring nothing before it counts as dead.
    pub(crate) fn new(args: ServerArgs, silence: Option<Duration>) -> anyhow::Result<Self> {
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(trust::of_server(&args.server, args.ca.as_deref())?)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")));
        if let Some(silence) = silence {
            http = http.read_timeout(silence);
        }
        Ok(Self { args, http: http.build().context("the HTTP client cannot be set up")? })
    }

    /// The address of a call; each part of the path may hold any character.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.args.server.clone();
        // `base_url` took only addresses that have a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// A request with the token on it.
    pub(crate) fn request(&self, method: Method, url: Url) -> anyhow::Result<RequestBuilder> {
        let mut request = self.http.request(method, url);
        if let Some(token) = self.token()? {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .context("the token has characters that no header can carry")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Makes a call and reads its JSON answer.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, refuses ([`Problem`]), or answers something else.
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let response = request.timeout(CALL_TIMEOUT).send().await.map_err(|e| self.unreachable(&e))?;
        let response = accepted(response).await?;
        let body = response.bytes().await.map_err(|e| self.unreachable(&e))?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{} answered something that is no Fanfare's answer", self.args.server))
    }

    /// Gets a JSON answer.
    ///
    /// # Errors
    ///
    /// As for [`Server::call`].
    pub(crate) async fn get<T: DeserializeOwned>(&self, url: Url) -> anyhow::Result<T> {
        self.call(self.request(Method::GET, url)?).await
    }

    /// What to say of a request that got no answer: the address, and the innermost cause.
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
                "cannot reach {at}: nobody listens there (choose with --server or FANFARE_SERVER)"
            )
        } else if error.is_timeout() {
            anyhow::anyhow!("{at} did not answer in time")
        } else {
            anyhow::anyhow!("cannot reach {at}: {cause}")
        }
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.args.token_file else { return Ok(self.args.token.clone()) };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("the token file {} cannot be read", file.display()))?;
        // Editors of some systems write a byte order mark.
        let token = text.trim_start_matches('\u{feff}').trim();
        if token.is_empty() {
            bail!("the token file {} is empty", file.display());
        }
        Ok(Some(token.to_owned()))
    }
}

/// The answer itself, if the server did not refuse.
///
/// # Errors
///
/// The [`Problem`] that a refusal tells.
pub(crate) async fn accepted(response: Response) -> anyhow::Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.unwrap_or_default();
    Err(Problem::read(status, &body).into())
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{e}; an address looks like http://127.0.0.1:8080"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("an address looks like http://127.0.0.1:8080 or https://sse.example".into());
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
