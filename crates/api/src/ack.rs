//! The bodies of `/v1/ack`.

use serde::{Deserialize, Serialize};

/// One acknowledgement, or an item of an array of them: for either `device` or `session`, of either `cursor`, or `channel` and `id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// Name of the device that acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Id of the session that acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The cursor of an event: everything up to it is acknowledged, in all channels of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The channel of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The event's position: everything up to it is acknowledged, in this channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// The response of `POST /v1/ack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Acked {
    /// Number of channels in which the acknowledged position moved forward.
    pub moved: usize,
}

/// The response of `GET /v1/ack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AckedCursor {
    /// The acknowledged cursor; `null` if nothing is acknowledged.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub cursor: Option<String>,
}
