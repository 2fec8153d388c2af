//! The response of `GET /v1/channels/{channel}/events`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A page of a channel's log. A node borrows the texts of events, so that a large page is not copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HistoryPage<'a> {
    /// Name of the channel.
    pub channel: Cow<'a, str>,
    /// The events, oldest first.
    pub events: Vec<HistoryEvent<'a>>,
    /// Value of `after=` for the next page.
    pub next: String,
    /// Whether the log has further events.
    pub more: bool,
    /// Whether events after the requested position may be missing.
    pub gap: bool,
}

/// An event in a channel's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HistoryEvent<'a> {
    /// The event's position.
    pub id: String,
    /// Time of publication, in Unix milliseconds.
    pub time: u64,
    /// The event's type; `message` for an event without a type.
    #[serde(rename = "type")]
    pub kind: Cow<'a, str>,
    /// The event's data.
    pub data: Cow<'a, str>,
    /// The session that does not get the event, for admins: `<user>/<session>`, or `<session>` of a client without a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_events_and_the_start_of_the_next() {
        let event = HistoryEvent {
            id: "5-1".into(),
            time: 5,
            kind: "said".into(),
            data: "a\nb".into(),
            except: None,
        };
        let page = HistoryPage {
            channel: "room:7".into(),
            events: vec![event],
            next: "5-1".into(),
            more: false,
            gap: true,
        };
        let text = serde_json::to_string(&page).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"channel":"room:7","events":[{"id":"5-1","time":5,"type":"said","data":"a\nb"}],"#,
                r#""next":"5-1","more":false,"gap":true}"#
            )
        );
        assert_eq!(serde_json::from_str::<HistoryPage<'static>>(&text).unwrap(), page);
    }
}
