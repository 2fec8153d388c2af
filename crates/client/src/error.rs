//! Failed calls and streams.

use std::io;

use fanfare_api::ProblemDetails;
use fanfare_protocol::json::ByName;
use reqwest::{StatusCode, Url};

/// Why a call or a stream failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's machine refused the connection.
    #[error("cannot connect to {server}: connection refused")]
    ConnectionRefused {
        /// URL of the server.
        server: String,
    },
    /// The server did not answer in time.
    #[error("timed out waiting for {server}")]
    Timeout {
        /// URL of the server.
        server: String,
    },
    /// The connection cannot be made.
    #[error("cannot connect to {server}: {cause}")]
    Unreachable {
        /// URL of the server.
        server: String,
        /// The innermost cause.
        cause: String,
    },
    /// The connection broke before the whole response arrived.
    #[error("the connection to {server} broke: {cause}")]
    Broken {
        /// URL of the server.
        server: String,
        /// The innermost cause.
        cause: String,
    },
    /// The server refused the request.
    #[error(transparent)]
    Problem(#[from] ProblemDetails),
    /// The response is not of the expected type.
    #[error("unexpected response from {server} (is this a Fanfare server?)")]
    Response {
        /// URL of the server.
        server: String,
        /// What is wrong with it.
        #[source]
        error: serde_json::Error,
    },
    /// A batch has more or fewer results than events.
    #[error("unexpected response: the number of results differs from the number of events")]
    ResultCount,
    /// The response to a stream request has another content type.
    #[error("unexpected content type {0:?}: not an event stream")]
    NotAStream(String),
    /// The server ended a stream.
    #[error("the stream ended")]
    StreamEnded,
    /// The connection of a stream broke, with the innermost cause.
    #[error("the stream failed: {0}")]
    StreamFailed(String),
    /// An event of a stream has a malformed envelope.
    #[error("the server sent a malformed event")]
    Event(#[source] serde_json::Error),
    /// The cursor cannot be sent in `Last-Event-ID`.
    #[error("the server's cursor has characters that are not allowed in a header")]
    Cursor,
    /// The token cannot be sent in `Authorization`.
    #[error("the token has characters that are not allowed in a header")]
    Token,
    /// The token file cannot be read.
    #[error("cannot read the token file {file}")]
    TokenFile {
        /// Path of the file.
        file: String,
        /// Why it cannot be read.
        #[source]
        error: io::Error,
    },
    /// The token file is empty.
    #[error("the token file {file} is empty")]
    EmptyTokenFile {
        /// Path of the file.
        file: String,
    },
    /// The HTTP client cannot be set up.
    #[error("failed to set up the HTTP client")]
    Setup(#[source] reqwest::Error),
}

impl Error {
    /// Creates the error of a request to `server` without a response.
    pub(crate) fn of_request(server: &Url, error: &reqwest::Error) -> Self {
        let server = server.as_str().trim_end_matches('/').to_owned();
        let cause = innermost(error);
        let refused = cause
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
        if refused {
            Self::ConnectionRefused { server }
        } else if error.is_connect() {
            Self::Unreachable { server, cause: cause.to_string() }
        } else if error.is_timeout() {
            Self::Timeout { server }
        } else {
            Self::Broken { server, cause: cause.to_string() }
        }
    }

    /// Returns whether the request may have been carried out although it failed.
    pub fn may_be_carried_out(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Broken { .. } | Self::Response { .. } | Self::ResultCount => true,
            // A node, or a load balancer that got no answer of a node.
            Self::Problem(problem) => {
                problem.status >= 500 && !["overloaded", "busy", "draining"].contains(&&*problem.code)
            }
            _ => false,
        }
    }
}

impl Error {
    /// Returns whether the same request may succeed later: the server is away, restarts, or is short of something.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::ConnectionRefused { .. }
            | Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::Broken { .. } => true,
            Self::Problem(problem) => problem.status >= 500 || [408, 429].contains(&problem.status),
            _ => false,
        }
    }
}

/// Returns the innermost cause of an error.
pub(crate) fn innermost<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}

/// Parses the body of an error response. A proxy may have answered instead of a node: a body that is not a problem is
/// described by the status.
pub(crate) fn problem(status: StatusCode, body: &[u8]) -> ProblemDetails {
    match serde_json::from_slice::<ByName<ProblemDetails>>(body) {
        Ok(ByName(problem)) if !problem.title.is_empty() => {
            ProblemDetails { status: status.as_u16(), ..problem }
        }
        _ => {
            let text = String::from_utf8_lossy(body);
            let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            let markup = first.starts_with('<');
            ProblemDetails {
                type_uri: "about:blank".into(),
                code: "".into(),
                title: format!("the server answered with status {status}").into(),
                status: status.as_u16(),
                detail: if markup { String::new() } else { first.chars().take(200).collect() },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_described_by_title_and_detail() {
        let body = br#"{"type":"/v1/problems#bad-cursor","title":"Bad cursor","status":400,"detail":"it is damaged"}"#;
        assert_eq!(problem(StatusCode::BAD_REQUEST, body).to_string(), "Bad cursor: it is damaged");
    }

    #[test]
    fn another_body_is_described_by_the_status() {
        let text = |body: &[u8]| problem(StatusCode::BAD_GATEWAY, body).to_string();
        assert_eq!(text(b"<html><h1>502</h1>"), "the server answered with status 502 Bad Gateway");
        assert_eq!(
            text(b"\n upstream gone\nmore"),
            "the server answered with status 502 Bad Gateway: upstream gone"
        );
        assert_eq!(text(b"{}"), "the server answered with status 502 Bad Gateway: {}");
    }
}
