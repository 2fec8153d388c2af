//! The calls of the HTTP API.

use std::time::Duration;

use fanfare_api::dead_letters::{DeadLetter, DeadLetterPage, Dropped, Requeued};
use fanfare_api::health::{Health, Readiness};
use fanfare_api::history::HistoryPage;
use fanfare_api::nodes::NodeList;
use fanfare_api::presence::ChannelPresence;
use fanfare_api::publish::{PublishResult, Published};
use fanfare_api::revocations::Revocation;
use fanfare_api::sessions::{Disconnected, SessionList};
use fanfare_api::tickets::{Ticket, TicketRequest};
use fanfare_protocol::json::ByName;
use fanfare_protocol::publish::Publication;
use fanfare_protocol::{Channel, Position, SessionId, TraceParent};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use rustls::ClientConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{self, Error};
use crate::token::Token;

/// Maximum number of events of one history call, of users of one presence call, and of entries of one page of dead letters.
pub const MAX_PAGE: usize = 1000;

/// Timeout for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Default timeout of a call that is not a stream.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings of a client. Not `Debug`, since they may contain a token.
#[derive(Clone)]
pub struct ClientSettings {
    /// URL of a node, or of the load balancer in front of the nodes. It may have a path.
    pub server: Url,
    /// TLS configuration: the trusted certificates.
    pub tls: ClientConfig,
    /// Token of all requests.
    pub token: Option<Token>,
    /// `User-Agent` of all requests.
    pub user_agent: String,
    /// Timeout of a call that is not a stream.
    pub call_timeout: Duration,
    /// Maximum time without data before a response counts as dead; heartbeats of a stream are data.
    pub silence: Option<Duration>,
    /// Whether proxies from the environment are used.
    pub proxy: bool,
}

impl ClientSettings {
    /// Creates the settings of a client without a token.
    pub fn new(server: Url, tls: ClientConfig) -> Self {
        Self {
            server,
            tls,
            token: None,
            user_agent: concat!("fanfare/", env!("CARGO_PKG_VERSION")).to_owned(),
            call_timeout: CALL_TIMEOUT,
            silence: None,
            proxy: true,
        }
    }
}

/// A client of one server. Clones share its connections. Each call fails if the server cannot be reached, refuses the
/// request ([`Error::Problem`]), or returns something else.
#[derive(Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    server: Url,
    token: Option<Token>,
    call_timeout: Duration,
    /// Trace of what is published.
    trace: Option<TraceParent>,
}

impl ApiClient {
    /// Creates a client.
    ///
    /// # Errors
    ///
    /// Fails if the HTTP client cannot be set up.
    pub fn new(settings: ClientSettings) -> Result<Self, Error> {
        let ClientSettings { server, tls, token, user_agent, call_timeout, silence, proxy } = settings;
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(user_agent);
        if let Some(silence) = silence {
            http = http.read_timeout(silence);
        }
        if !proxy {
            http = http.no_proxy();
        }
        Ok(Self { http: http.build().map_err(Error::Setup)?, server, token, call_timeout, trace: None })
    }

    /// Returns a client whose events belong to a trace, unless they name another one.
    #[must_use]
    pub fn traced(self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self }
    }

    /// Publishes one event.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn publish(&self, publication: &Publication) -> Result<Published, Error> {
        let body = publication.to_json().to_string();
        self.object(self.publish_request(body)?).await
    }

    /// Publishes a batch. Each item is the JSON text of a publication. Returns a result for each item, in order.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn publish_batch(&self, items: &[String]) -> Result<Vec<PublishResult>, Error> {
        let request = self.publish_request(format!("[{}]", items.join(",")))?;
        let results: Vec<PublishResult> = self.call(request).await?;
        if results.len() == items.len() { Ok(results) } else { Err(Error::ResultCount) }
    }

    fn publish_request(&self, body: String) -> Result<RequestBuilder, Error> {
        let mut request = self.request(Method::POST, self.url(&["v1", "publish"]))?;
        if let Some(trace) = &self.trace {
            request = request.header("traceparent", trace.to_string());
        }
        Ok(request.header(CONTENT_TYPE, "application/json").body(body))
    }

    /// Returns up to `limit` events of a channel's log after a position, a Unix time in milliseconds, `earliest` or
    /// `latest`. A page has at most [`MAX_PAGE`] events.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn history(
        &self,
        channel: &Channel,
        after: &str,
        limit: usize,
    ) -> Result<HistoryPage<'static>, Error> {
        let mut url = self.url(&["v1", "channels", channel.as_str(), "events"]);
        url.query_pairs_mut()
            .append_pair("after", after)
            .append_pair("limit", &limit.min(MAX_PAGE).to_string());
        self.object(self.request(Method::GET, url)?).await
    }

    /// Returns how many sessions and users follow a channel whose presence is recorded.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn presence(&self, channel: &Channel) -> Result<ChannelPresence, Error> {
        let url = self.url(&["v1", "channels", channel.as_str(), "presence"]);
        self.object(self.request(Method::GET, url)?).await
    }

    /// Returns the same, and lists up to `limit` users after `after`. A page has at most [`MAX_PAGE`] users.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn present_users(
        &self,
        channel: &Channel,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ChannelPresence, Error> {
        let mut url = self.url(&["v1", "channels", channel.as_str(), "presence"]);
        url.query_pairs_mut().append_pair("users", &limit.min(MAX_PAGE).to_string());
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", after);
        }
        self.object(self.request(Method::GET, url)?).await
    }

    /// Lists a user's sessions.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn sessions(&self, user: &str) -> Result<SessionList, Error> {
        let url = self.url(&["v1", "users", user, "sessions"]);
        self.object(self.request(Method::GET, url)?).await
    }

    /// Disconnects a session, or all sessions of the user.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn disconnect(&self, user: &str, session: Option<SessionId>) -> Result<Disconnected, Error> {
        let session = session.map(|session| session.to_string());
        let mut path = vec!["v1", "users", user, "sessions"];
        path.extend(session.as_deref());
        self.object(self.request(Method::DELETE, self.url(&path))?).await
    }

    /// Revokes tokens. Returns what was revoked.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn revoke(&self, revocation: &Revocation) -> Result<Revocation, Error> {
        // A structure of texts and numbers can be written.
        let body = serde_json::to_string(revocation).unwrap_or_default();
        let request = self.request(Method::POST, self.url(&["v1", "revocations"]))?;
        self.object(request.header(CONTENT_TYPE, "application/json").body(body)).await
    }

    /// Makes a ticket for one stream.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn ticket(&self, asked: &TicketRequest) -> Result<Ticket, Error> {
        // A structure of texts can be written.
        let body = serde_json::to_string(asked).unwrap_or_default();
        let request = self.request(Method::POST, self.url(&["v1", "tickets"]))?;
        self.object(request.header(CONTENT_TYPE, "application/json").body(body)).await
    }

    /// Lists the cluster's nodes.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn nodes(&self) -> Result<NodeList, Error> {
        self.object(self.request(Method::GET, self.url(&["v1", "nodes"]))?).await
    }

    /// Returns up to `limit` entries of the dead-letter stream after an id. A page has at most [`MAX_PAGE`] entries.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn dead_letters(&self, after: &str, limit: usize) -> Result<DeadLetterPage, Error> {
        let mut url = self.url(&["v1", "dead-letters"]);
        url.query_pairs_mut()
            .append_pair("after", after)
            .append_pair("limit", &limit.min(MAX_PAGE).to_string());
        self.object(self.request(Method::GET, url)?).await
    }

    /// Returns an entry of the dead-letter stream with its fields.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn dead_letter(&self, id: Position) -> Result<DeadLetter, Error> {
        let url = self.url(&["v1", "dead-letters", &id.to_string()]);
        self.object(self.request(Method::GET, url)?).await
    }

    /// Moves an entry of the dead-letter stream back to the intake.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn requeue_dead(&self, id: Position) -> Result<Requeued, Error> {
        let url = self.url(&["v1", "dead-letters", &id.to_string(), "requeue"]);
        self.object(self.request(Method::POST, url)?).await
    }

    /// Removes an entry from the dead-letter stream.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn drop_dead(&self, id: Position) -> Result<Dropped, Error> {
        let url = self.url(&["v1", "dead-letters", &id.to_string()]);
        self.object(self.request(Method::DELETE, url)?).await
    }

    /// Checks the liveness of a node.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`].
    pub async fn health(&self) -> Result<Health, Error> {
        self.object(self.request(Method::GET, self.url(&["healthz"]))?).await
    }

    /// Checks the readiness of a node.
    ///
    /// # Errors
    ///
    /// See [`ApiClient`]. A node that is not ready is not an error.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let request = self.request(Method::GET, self.url(&["readyz"]))?;
        let (status, body) = self.response(request).await?;
        match serde_json::from_slice(&body) {
            Ok(ByName(readiness)) => Ok(readiness),
            Err(error) if status.is_success() => Err(self.unexpected(error)),
            Err(_) => Err(error::problem(status, &body).into()),
        }
    }

    /// Returns the timeout of a call that is not a stream.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Returns the URL of a call; each part of the path may have any character.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.server.clone();
        // An `http` or `https` URL can have a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Creates a request with the token.
    pub(crate) fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, Error> {
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            let mut value =
                HeaderValue::try_from(format!("Bearer {}", token.read()?)).map_err(|_| Error::Token)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Returns the error of a request without a response.
    pub(crate) fn failed(&self, error: &reqwest::Error) -> Error {
        Error::of_request(&self.server, error)
    }

    pub(crate) async fn object<T: for<'de> Deserialize<'de>>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Error> {
        self.call(request).await.map(|ByName(object)| object)
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let (status, body) = self.response(request).await?;
        if !status.is_success() {
            return Err(error::problem(status, &body).into());
        }
        serde_json::from_slice(&body).map_err(|error| self.unexpected(error))
    }

    async fn response(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Error> {
        let response = request.timeout(self.call_timeout).send().await.map_err(|e| self.failed(&e))?;
        let status = response.status();
        match response.bytes().await {
            Ok(body) => Ok((status, body.into())),
            // The status says more than the broken body.
            Err(_) if !status.is_success() => Ok((status, Vec::new())),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn unexpected(&self, error: serde_json::Error) -> Error {
        Error::Response { server: self.server.to_string(), error }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::crypto::ring;

    use super::*;

    pub(crate) fn client(server: &str) -> ApiClient {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        ApiClient::new(ClientSettings::new(server.parse().unwrap(), tls)).unwrap()
    }

    #[test]
    fn each_part_of_a_path_is_escaped() {
        let url = client("http://h:1").url(&["v1", "channels", "a/b%c?d#e", "events"]);
        assert_eq!(url.as_str(), "http://h:1/v1/channels/a%2Fb%25c%3Fd%23e/events");
    }

    #[test]
    fn a_server_behind_a_path_is_reached() {
        for address in ["http://h:1/sse", "http://h:1/sse/"] {
            assert_eq!(client(address).url(&["v1", "nodes"]).as_str(), "http://h:1/sse/v1/nodes");
        }
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_server() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = client(&format!("http://{free}")).nodes().await.unwrap_err();
        let Error::ConnectionRefused { server } = &error else { panic!("{error:?}") };
        assert_eq!(*server, format!("http://{free}"));
    }
}
