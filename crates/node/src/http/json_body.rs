//! Small JSON bodies.

use axum::body::Body;
use fanfare_protocol::json;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::app::App;
use super::problem::{Code, Problem};
use super::{body, letter};

/// Maximum size of a body, in bytes.
const MAX_BYTES: usize = 4096;

/// Reads a JSON object.
///
/// # Errors
///
/// Fails if the body is not JSON of this form, or like [`body::read`].
pub(super) async fn read<T: DeserializeOwned>(
    app: &App,
    parts: &Parts,
    mut body: Body,
) -> Result<T, Problem> {
    letter::content_coding(&parts.headers)?;
    check_media_type(&parts.headers)?;
    let (bytes, _permit) = body::read(app, parts, &mut body, MAX_BYTES).await?;
    parse(&bytes)
}

/// Reads a JSON object; returns `None` if the body has no bytes.
///
/// # Errors
///
/// Fails like [`read`].
pub(super) async fn read_if_any<T: DeserializeOwned>(
    app: &App,
    parts: &Parts,
    mut body: Body,
) -> Result<Option<T>, Problem> {
    letter::content_coding(&parts.headers)?;
    let (bytes, _permit) = body::read(app, parts, &mut body, MAX_BYTES).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    check_media_type(&parts.headers)?;
    parse(&bytes).map(Some)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = json::text(bytes).map_err(|error| Problem::new(Code::BadJson, error.to_string()))?;
    json::object(text).map_err(|error| Problem::new(Code::BadJson, json::reason(&error)))
}

/// Checks the media type.
///
/// # Errors
///
/// Fails if it is not JSON.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    if is_json(headers) {
        return Ok(());
    }
    Err(Problem::new(Code::MediaType, "send the body with Content-Type: application/json"))
}

/// Returns whether the media type is `application/json`, or ends in `+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    if text == "application/json" {
        return true;
    }
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
