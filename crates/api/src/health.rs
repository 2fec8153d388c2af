//! The responses of `/healthz` and `/readyz`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The response of `/healthz`: the process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Health {
    /// Always `ok`.
    pub status: Cow<'static, str>,
}

impl Health {
    /// The process answers.
    pub const OK: Self = Self { status: Cow::Borrowed("ok") };
}

/// The response of `/readyz`: whether the node accepts new streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Readiness {
    /// Whether all parts are ready.
    pub ready: bool,
    /// State of each part.
    pub parts: Parts,
}

impl Readiness {
    /// Creates the readiness of the parts.
    pub fn new(parts: Parts) -> Self {
        let ready = parts.all().iter().all(|(_, part)| part.ok);
        Self { ready, parts }
    }
}

/// The parts of the readiness. A part that a node does not report is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Parts {
    /// The broker answers.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub redis: Part,
    /// The subscriber connection is up.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub pubsub: Part,
    /// The lease is held.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub lease: Part,
    /// The keys of tokens are there.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub keys: Part,
    /// The revocations of tokens were read.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub revocations: Part,
    /// The node is not draining.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub draining: Part,
}

impl Parts {
    /// Returns each part with its name.
    pub fn all(&self) -> [(&'static str, &Part); 6] {
        let Self { redis, pubsub, lease, keys, revocations, draining } = self;
        [
            ("redis", redis),
            ("pubsub", pubsub),
            ("lease", lease),
            ("keys", keys),
            ("revocations", revocations),
            ("draining", draining),
        ]
    }
}

/// State of one part of the readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Part {
    /// Whether the part is ready.
    pub ok: bool,
    /// Why the part is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

impl Default for Part {
    fn default() -> Self {
        Self::OK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_if_all_parts_are() {
        let parts = Parts::default();
        assert!(Readiness::new(parts.clone()).ready);
        let readiness = Readiness::new(Parts { lease: Part::wrong("expired"), ..parts });
        let text = serde_json::to_string(&readiness).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"ready":false,"parts":{"redis":{"ok":true},"pubsub":{"ok":true},"#,
                r#""lease":{"ok":false,"reason":"expired"},"keys":{"ok":true},"revocations":{"ok":true},"draining":{"ok":true}}}"#
            )
        );
        assert_eq!(serde_json::from_str::<Readiness>(&text).unwrap(), readiness);
        assert_eq!(serde_json::to_string(&Health::OK).unwrap(), r#"{"status":"ok"}"#);
    }
}
