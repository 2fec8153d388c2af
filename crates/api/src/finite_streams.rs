//! The response of `GET /v1/streams`.

use serde::{Deserialize, Serialize};

/// Finite streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FiniteStreamPage {
    /// The streams, in no order over the pages.
    pub streams: Vec<FiniteStream>,
    /// Value of `after=` for the next page; `null` if there is none.
    pub next: Option<String>,
}

/// One finite stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FiniteStream {
    /// Its name.
    pub name: String,
    /// What its bytes are.
    pub media_type: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// How it ended: `complete`, `error` or `cancelled`; missing while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Why it ended, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds after its last read or write for which it is kept, if its creator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Time until which it is kept (RFC 3339), if its creator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}
