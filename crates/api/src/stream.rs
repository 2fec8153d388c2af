//! The data of a stream's control events.

use serde::{Deserialize, Serialize};

/// Data of `connected`, the first event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Connected {
    /// Session id.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub session: String,
    /// Id of the node that serves the stream.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub node: String,
    /// The cursor at the start of the stream.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub cursor: String,
}

/// Data of `gap`: the client may lack events of a channel, because retention removed them or Redis lost data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Gap {
    /// Name of the channel.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub channel: String,
    /// Position after which events may be missing.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub after: String,
}

/// Data of `expired`: the stream or its token reached an age, or the token lost its rights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Expired {
    /// `idle`, `age`, `token`, `revoked` or `ungranted`.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub reason: String,
}

/// Data of `overloaded`: the stream is refused for now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Overloaded {
    /// The limit or condition.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub reason: String,
}

/// Data of `shutdown`: the node is draining.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Shutdown {
    /// Id of the node.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub node: String,
}

/// Data of `excepted`, which has the place of a heartbeat: the stream's cursor has passed events that the session does not get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Excepted {}

/// Data of `superseded` and `disconnected`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SessionEnded {
    /// Session id.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub session: String,
}
