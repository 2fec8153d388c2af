//! Health checks, readiness and metrics.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::json;

use super::app::App;
use super::problem::{Code, Problem};

/// The text format that `prometheus-client` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// State of one part of the readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Whether the part is ready.
    pub ok: bool,
    /// Why the part is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Part {
    /// A part that is ready.
    pub const OK: Self = Self { ok: true, reason: None };

    /// Creates a part that is not ready.
    pub fn wrong(reason: impl Into<String>) -> Self {
        Self { ok: false, reason: Some(reason.into()) }
    }

    /// Creates a part that is ready if `ok`.
    pub fn when(ok: bool, reason: &str) -> Self {
        if ok { Self::OK } else { Self::wrong(reason) }
    }
}

/// Checks one part.
pub type Look = Box<dyn Fn() -> Part + Send + Sync>;

/// Checks of all parts. Each check runs on request and does not block.
pub struct Health {
    /// The broker answers.
    pub redis: Look,
    /// The subscriber connection is up.
    pub pubsub: Look,
    /// The lease is held.
    pub lease: Look,
    /// The node is not draining.
    pub draining: Look,
}

impl Health {
    /// Returns whether the node is draining.
    pub fn is_draining(&self) -> bool {
        !(self.draining)().ok
    }

    /// Returns whether the node accepts new streams.
    pub fn is_ready(&self) -> bool {
        [&self.redis, &self.pubsub, &self.lease, &self.draining].into_iter().all(|look| look().ok)
    }

    /// Returns whether the broker answered the last call.
    pub fn has_broker(&self) -> bool {
        (self.redis)().ok
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

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
