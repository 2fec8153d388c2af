//! The response of `POST /v1/publish`: one result for one event, or an array with a result for each event.

use fanfare_protocol::json::ByName;
use serde::{Deserialize, Deserializer, Serialize};

use crate::problem::ProblemDetails;

/// A published event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Published {
    /// The event's position; `null` for an ephemeral event.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub id: Option<String>,
    /// Whether the idempotency key was used before; the position is that of the first event with the key.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub repeat: bool,
}

/// Result of one event of a batch, or of an event for several channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum PublishResult {
    /// The event was not published.
    Refused {
        /// The reason.
        error: ProblemDetails,
    },
    /// The event was for several channels.
    Each {
        /// A result for each channel, in the order of the request.
        #[cfg_attr(feature = "schema", schema(no_recursion))]
        results: Vec<PublishResult>,
    },
    /// The event was published.
    Published(Published),
}

impl<'de> Deserialize<'de> for PublishResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Members {
            error: Option<ByName<ProblemDetails>>,
            results: Option<Vec<PublishResult>>,
            #[serde(default)]
            id: Option<String>,
            #[serde(default)]
            repeat: bool,
        }
        let ByName(Members { error, results, id, repeat }) = ByName::deserialize(deserializer)?;
        Ok(match (error, results) {
            (Some(ByName(error)), _) => Self::Refused { error },
            (None, Some(results)) => Self::Each { results },
            (None, None) => Self::Published(Published { id, repeat }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    #[test]
    fn an_event_has_a_position_or_none_or_an_error() {
        let stored = PublishResult::Published(Published { id: Some("5-1".into()), repeat: false });
        let ephemeral = PublishResult::Published(Published::default());
        let refused =
            PublishResult::Refused { error: ProblemDetails::new(Code::BadEvent, "empty type".into()) };
        let results = vec![stored, ephemeral, refused];
        let text = serde_json::to_string(&results).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"[{"id":"5-1","repeat":false},{"id":null,"repeat":false},{"error":{"type":"/v1/problems#bad-event","#,
                r#""code":"bad-event","title":"Invalid event","status":400,"detail":"empty type"}}]"#
            )
        );
        assert_eq!(serde_json::from_str::<Vec<PublishResult>>(&text).unwrap(), results);
    }

    #[test]
    fn a_result_is_an_object() {
        for other in ["[\"5-1\",false]", "7", "null", "\"5-1\"", r#"{"error":["a"]}"#] {
            assert!(serde_json::from_str::<PublishResult>(other).is_err(), "{other}");
        }
    }
}
