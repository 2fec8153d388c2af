//! Health checks, readiness and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::app::App;
use super::problem::{Code, Problem};
use super::readiness::Health;

/// The text format that `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /healthz`: liveness of the process.
pub async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

/// `GET /ready`: whether the node accepts new streams, without a reason. nginx can check only the address to which it
/// sends streams, and clients can reach that address too.
pub async fn ready(State(app): State<Arc<App>>) -> StatusCode {
    if app.health.is_ready() { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// `GET /readyz`: whether the node accepts new streams, and for each part that is not ready the reason.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let Health { redis, pubsub, lease, draining } = &app.health;
    let parts = [("redis", redis()), ("pubsub", pubsub()), ("lease", lease()), ("draining", draining())];
    let ready = parts.iter().all(|(_, part)| part.ok);
    let parts: serde_json::Map<_, _> =
        parts.into_iter().map(|(name, part)| (name.to_owned(), json!(part))).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({"ready": ready, "parts": parts}))).into_response()
}

/// `GET /metrics`.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.counts.text().await {
        Some(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        None => Problem::new(Code::Internal, "the metrics could not be encoded").into_response(),
    }
}
