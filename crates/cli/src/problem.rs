//! Error responses of the server.

use fanfare_api::ProblemDetails;
use fanfare_protocol::json::ByName;
use reqwest::StatusCode;

/// Parses the body of an error response. A proxy may have answered instead of the node: a body that is not a problem
/// is described by the status.
pub(crate) fn read(status: StatusCode, body: &[u8]) -> ProblemDetails {
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
    fn a_problem_is_told_by_title_and_detail() {
        let body = br#"{"type":"/v1/problems#bad-cursor","title":"Bad cursor","status":400,"detail":"it is damaged"}"#;
        assert_eq!(read(StatusCode::BAD_REQUEST, body).to_string(), "Bad cursor: it is damaged");
    }

    #[test]
    fn what_is_no_problem_is_told_by_its_status() {
        let told = |body: &[u8]| read(StatusCode::BAD_GATEWAY, body).to_string();
        assert_eq!(told(b"<html><h1>502</h1>"), "the server answered with status 502 Bad Gateway");
        assert_eq!(
            told(b"\n upstream gone\nmore"),
            "the server answered with status 502 Bad Gateway: upstream gone"
        );
        assert_eq!(told(b"{}"), "the server answered with status 502 Bad Gateway: {}");
    }
}
