//! The bodies of `/v1/revocations` and `/v1/sessions/{session}/token`.

use serde::{Deserialize, Serialize};

/// The request and the response of `POST /v1/revocations`: either `jti`, or `user`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Revokes the tokens with this `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Revokes tokens of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Of the user's tokens, those whose `iat` is before this time, in seconds since 1970, and those without `iat`. In a
    /// request without it: all tokens issued until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// The response of `POST /v1/sessions/{session}/token`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TokenReplaced {
    /// Session id.
    pub session: String,
    /// Id of the node that serves the stream.
    pub node: String,
    /// Expiry of the new token, in Unix milliseconds, leeway included; `null` if it does not expire.
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub expires: Option<u64>,
}
