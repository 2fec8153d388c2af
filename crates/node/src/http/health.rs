//! Health checks, readiness and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fanfare_api::health::{Health, Readiness};
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, StatusCode};

use super::app::App;
use super::counts::Format;
use super::problem::{Code, Problem};

/// `GET /healthz`: liveness of the process.
pub async fn healthz() -> Json<Health> {
    Json(Health::OK)
}

/// `GET /ready`: whether the node accepts new streams, without a reason. nginx can check only the address to which it
/// sends streams, and clients can reach that address too.
pub async fn ready(State(app): State<Arc<App>>) -> StatusCode {
    if app.readiness.is_ready() { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// `GET /readyz`: whether the node accepts new streams, and for each part that is not ready the reason.
pub async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let readiness = Readiness::new(app.readiness.parts());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// `GET /metrics`, in the format that the client prefers.
pub async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let format = Format::negotiate(&headers);
    match app.counts.text(format).await {
        Some(text) => ([(CONTENT_TYPE, format.media_type()), (VARY, ACCEPT.as_str())], text).into_response(),
        None => Problem::new(Code::Internal, "the metrics could not be encoded").into_response(),
    }
}
