//! Whether the node lives, whether it is ready, and what it counts.

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

/// One part of being ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Whether it is as it should be.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Part {
    /// As it should be.
    pub const OK: Self = Self { ok: true, reason: None };

    /// Not as it should be.
    pub fn wrong(reason: impl Into<String>) -> Self {
        Self { ok: false, reason: Some(reason.into()) }
    }

    /// One or the other.
    pub fn when(ok: bool, reason: &str) -> Self {
        if ok { Self::OK } else { Self::wrong(reason) }
    }
}

/// Looks at one part.
pub type Look = Box<dyn Fn() -> Part + Send + Sync>;

/// Looks at all parts. Each is looked at when it is asked for, and none of them waits.
pub struct Health {
    /// Whether the broker answers.
    pub redis: Look,
    /// Whether the subscriber connection is up.
    pub pubsub: Look,
    /// Whether the lease is held.
    pub lease: Look,
    /// Whether the node stays.
    pub draining: Look,
}

impl Health {
    /// Whether the node is leaving.
    pub fn is_draining(&self) -> bool {
        !(self.draining)().ok
    }

    /// Whether new streams are welcome.
    pub fn is_ready(&self) -> bool {
        [&self.redis, &self.pubsub, &self.lease, &self.draining].into_iter().all(|look| look().ok)
    }

    /// Whether the broker answered when it was asked last.
    pub fn has_broker(&self) -> bool {
        (self.redis)().ok
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

/// `GET /healthz`: whether the process lives.
pub async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

/// `GET /ready`: whether the node accepts new streams, without a reason. nginx can check only the address to which it sends
/// streams, which clients can reach too.
pub async fn ready(State(app): State<Arc<App>>) -> StatusCode {
    if app.health.is_ready() { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// `GET /readyz`: whether streams should be sent here, and if not, what is wrong.
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
        None => Problem::new(Code::Internal, "the metrics could not be written").into_response(),
    }
}
