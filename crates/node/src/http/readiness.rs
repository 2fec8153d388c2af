//! Readiness of the node, part by part.

use std::fmt;

use serde::Serialize;

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
