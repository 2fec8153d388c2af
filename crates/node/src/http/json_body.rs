//! Small JSON bodies.

use axum::body::Body;
use bytes::Bytes;
use fanfare_protocol::json;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::app::App;
use super::letter;
use super::problem::{Code, Problem};

/// Maximum size of a body, in bytes.
const MAX_BYTES: usize = 4096;

/// Reads a JSON object.
///
/// # Errors
///
/// Fails if the body is not JSON of this form, is too large, or takes too long.
pub(super) async fn read<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    letter::content_coding(headers)?;
    check_media_type(headers)?;
    parse(&collect(app, body).await?)
}

/// Reads a JSON object; returns `None` if the body has no bytes.
///
/// # Errors
///
/// Fails like [`read`].
pub(super) async fn read_if_any<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<T>, Problem> {
    letter::content_coding(headers)?;
    let bytes = collect(app, body).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    check_media_type(headers)?;
    parse(&bytes).map(Some)
}

async fn collect(app: &App, body: Body) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(app.http.body_read_timeout, Limited::new(body, MAX_BYTES).collect());
    let collected = collected
        .await
        .map_err(|_| Problem::new(Code::RequestTimeout, "the body took too long to arrive"))?;
    let bytes = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Problem::new(Code::TooLarge, format!("the body has more than {MAX_BYTES} bytes"))
        } else {
            Problem::bad_request("the body ended early")
        }
    })?;
    Ok(bytes.to_bytes())
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
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
