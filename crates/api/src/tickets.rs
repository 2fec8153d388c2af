//! The bodies of `/v1/tickets`.

use fanfare_protocol::Pattern;
use serde::{Deserialize, Serialize};

/// The request of `POST /v1/tickets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// The patterns of channels that the ticket's stream may follow, which the token must grant; without them, all that
    /// the token grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<String>>))]
    pub subscribe: Option<Vec<Pattern>>,
}

/// The response of `POST /v1/tickets`. Not `Debug`, since it has a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Ticket {
    /// The ticket: the value of `ticket=` for one stream.
    pub ticket: String,
    /// The user.
    pub user: String,
    /// Time until which the stream must be opened, in Unix milliseconds.
    pub use_before: u64,
    /// Time until which the stream can be open and resumed, in Unix milliseconds.
    pub expires: u64,
}
