//! Error responses of the server: `application/problem+json`, RFC 9457.

use std::fmt;

use fanfare_protocol::json::ByName;
use serde::Deserialize;

/// An error response. Displays as one line: `title: detail`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Problem {
    /// HTTP status, if known.
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// Kind of problem.
    #[serde(default)]
    title: String,
    /// Explanation of this occurrence.
    #[serde(default)]
    detail: String,
}

impl std::error::Error for Problem {}

impl Problem {
    /// Parses a response body. A proxy may have answered instead of the node: a body without a title is described by
    /// the status.
    pub(crate) fn read(status: reqwest::StatusCode, body: &[u8]) -> Self {
        let status_code = Some(status.as_u16());
        match serde_json::from_slice::<ByName<Self>>(body) {
            Ok(ByName(problem)) if !problem.title.is_empty() => Self { status: status_code, ..problem },
            _ => {
                let text = String::from_utf8_lossy(body);
                let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
                let markup = first.starts_with('<');
                let detail = if markup { String::new() } else { first.chars().take(200).collect() };
                Self {
                    status: status_code,
                    title: format!("the server answered with status {status}"),
                    detail,
                }
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if !self.detail.is_empty() && self.detail != self.title {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    #[test]
    fn a_problem_is_told_by_title_and_detail() {
        let body = br#"{"type":"/v1/problems#bad-cursor","title":"Bad cursor","status":400,"detail":"it is damaged"}"#;
        assert_eq!(Problem::read(StatusCode::BAD_REQUEST, body).to_string(), "Bad cursor: it is damaged");
    }

    #[test]
    fn what_is_no_problem_is_told_by_its_status() {
        let told = |body: &[u8]| Problem::read(StatusCode::BAD_GATEWAY, body).to_string();
        assert_eq!(told(b"<html><h1>502</h1>"), "the server answered with status 502 Bad Gateway");
        assert_eq!(
            told(b"\n upstream gone\nmore"),
            "the server answered with status 502 Bad Gateway: upstream gone"
        );
        assert_eq!(told(b"{}"), "the server answered with status 502 Bad Gateway: {}");
    }
}
