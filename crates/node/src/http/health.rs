//! Health checks, readiness and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fanfare_api::health::{Health, Readiness};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::app::App;
use super::problem::{Code, Problem};

/// The text format that `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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

/// `GET /metrics`.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.counts.text().await {
        Some(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        None => Problem::new(Code::Internal, "the metrics could not be encoded").into_response(),
    }
}
