//! A node's HTTP calls that are not streams.

use std::net::SocketAddr;
use std::time::Duration;

use fanfare_api::ProblemDetails;
use fanfare_api::publish::Published;
use fanfare_protocol::Position;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::certificate::{self, Certificate};

/// Calls one node, with or without a token.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    base: String,
    token: Option<String>,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

impl Api {
    /// Calls the node at an address. A call fails after 20 s.
    pub fn at(address: SocketAddr) -> Self {
        Self::by(
            certificate::client(RootCertStore::empty()).with_no_client_auth(),
            format!("http://{address}"),
        )
    }

    /// Calls the node at an address over TLS.
    pub fn over_tls(address: SocketAddr, certificate: &Certificate) -> Self {
        Self::by(certificate.client(&[]), format!("https://{address}"))
    }

    fn by(tls: ClientConfig, base: String) -> Self {
        // No idle connections: the node at the other end may be another one by then.
        let client = Client::builder().pool_max_idle_per_host(0).no_proxy().timeout(Duration::from_secs(20));
        let client = client.tls_backend_preconfigured(tls).build().expect("a plain client can be built");
        Self { client, base, token: None }
    }

    /// Calls with a bearer token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Any call, with any body and headers.
    ///
    /// # Errors
    ///
    /// When there was no answer.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> reqwest::Result<Answer> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method of a test is one");
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body.into());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// `GET` that must be answered.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await.unwrap_or_else(|e| panic!("GET {path}: {e:?}"))
    }

    /// `DELETE` that must be answered.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], "").await.unwrap_or_else(|e| panic!("DELETE {path}: {e:?}"))
    }

    /// `POST /v1/publish` with a JSON body.
    ///
    /// # Errors
    ///
    /// When there was no answer.
    pub async fn post(&self, body: &Value) -> reqwest::Result<Answer> {
        self.call("POST", "/v1/publish", &[("content-type", "application/json")], body.to_string()).await
    }

    /// Publishes one event, which must be accepted. Gives back its position.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub async fn publish(&self, channel: &str, kind: &str, data: &str) -> Position {
        let body = json!({"channel": channel, "type": kind, "data": data});
        let answer = self.post(&body).await.unwrap_or_else(|e| panic!("publish to {channel}: {e:?}"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        let Published { id, .. } = answer.read();
        let id = id.unwrap_or_else(|| panic!("no id: {}", answer.text));
        id.parse().unwrap_or_else(|e| panic!("{id}: {e}"))
    }
}

impl Answer {
    /// The body as one of the API's types.
    ///
    /// # Panics
    ///
    /// When it is another.
    pub fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{}: {e}", self.text))
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        self.read()
    }

    /// A header's text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Checks that this is a problem (RFC 9457) with this status and code whose detail has these words.
    ///
    /// # Errors
    ///
    /// Says what is different.
    pub fn is_problem(&self, status: u16, code: &str, words: &[&str]) -> Result<(), String> {
        let shown = format!("{} {:?} {}", self.status, self.header("content-type"), self.text);
        if self.header("content-type") != "application/problem+json" {
            return Err(format!("not a problem: {shown}"));
        }
        let problem = serde_json::from_str(&self.text).map_err(|e| format!("{e}: {shown}"))?;
        check_problem(&problem, status, code, words)?;
        if self.status == status { Ok(()) } else { Err(format!("not {status}: {shown}")) }
    }
}

/// [`Answer::is_problem`] for a problem that stands in a body of its own, as in a batch's answer.
///
/// # Errors
///
/// Says what is different.
pub fn check_problem(problem: &Value, status: u16, code: &str, words: &[&str]) -> Result<(), String> {
    let details = ProblemDetails::deserialize(problem).map_err(|e| format!("{e}: {problem}"))?;
    let wanted = format!("/v1/problems#{code}");
    if details.type_uri != wanted || details.code != code || details.status != status {
        return Err(format!("not {status} {code}: {problem}"));
    }
    if details.title.is_empty() {
        return Err(format!("no title: {problem}"));
    }
    let detail = details.detail.to_lowercase();
    match words.iter().find(|word| !detail.contains(&word.to_lowercase())) {
        Some(word) => Err(format!("the detail has no {word:?}: {problem}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_checked_for_status_code_and_words() {
        let problem = json!({
            "type": "/v1/problems#bad-json", "code": "bad-json", "title": "Bad JSON", "status": 400, "detail": "EOF at line 1"
        });
        assert_eq!(check_problem(&problem, 400, "bad-json", &["eof", "line 1"]), Ok(()));
        assert!(check_problem(&problem, 401, "bad-json", &[]).is_err());
        assert!(check_problem(&problem, 400, "bad-event", &[]).is_err());
        assert!(check_problem(&problem, 400, "bad-json", &["column"]).is_err());
    }
}
