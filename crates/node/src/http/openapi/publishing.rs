//! The descriptions of publishing, history and presence.

use fanfare_api::history::HistoryPage;
use fanfare_api::presence::ChannelPresence;
use fanfare_api::publish::{PublishResult, Published};
use serde_json::{Value, json};

use super::call::{Call, reference};
use super::schema;
use crate::http::problem::Code;

/// Describes `POST /v1/publish`.
pub(in crate::http) fn publish() -> Call {
    let event = json!({ "anyOf": [reference("NewEvent"), reference("NewEventForChannels")] });
    let body = json!({ "anyOf": [event, { "type": "array", "items": event }] });
    let channels = json!({ "type": "array", "items": schema::channel(), "minItems": 1 });
    let (call, one) =
        Call::new("publish", "channels", "Publish one event, or an array of events").reference::<Published>();
    let (call, result) = call.reference::<PublishResult>();
    let answer = json!({ "anyOf": [one, result, { "type": "array", "items": result }] });
    call.about("The answer to an array has a result for each event, in order; an event that fails does not affect the others.")
        .header("Idempotency-Key", "The key of the event: another way to send `key`", schema::text())
        .header("traceparent", "The trace context of events without one of their own (W3C Trace Context)", schema::text())
        .takes_schema(true, "One event, or an array", body)
        .named("NewEvent", new_event("channel", "An event for a channel.", &schema::channel()))
        .named("NewEventForChannels", new_event("channels", "An event for several channels.", &channels))
        .answers_schema(200, "application/json", "A result, or for an array a result for each event", answer)
        .refuses(&[Code::BadChannel, Code::BadEvent])
}

/// Returns the schema of an event in a request, which names its place in this member.
fn new_event(place: &str, meaning: &str, place_schema: &Value) -> Value {
    json!({
        "type": "object",
        "description": meaning,
        "required": [place, "data"],
        "additionalProperties": false,
        "properties": {
            place: place_schema,
            "type": { "type": ["string", "null"], "minLength": 1, "description": "The event's type." },
            "data": { "description": "The event's data: a string, or any other JSON value, whose text is published." },
            "key": { "type": ["string", "null"], "minLength": 1, "description": "The idempotency key: a repeated publish has no \
            effect." },
            "ephemeral": { "type": ["boolean", "null"], "description": "Whether the event is delivered only, and not stored." },
            "except": {
                "type": ["string", "null"],
                "description": "The session that does not get the event: `<user>/<session>`, or `<session>` of a client without \
                a user.",
            },
            "traceparent": {
                "type": ["string", "null"],
                "description": "The trace context of the publisher (W3C Trace Context); ignored if it is malformed.",
            },
        },
    })
}

/// Describes `GET /v1/channels/{channel}/events`.
pub(in crate::http) fn history() -> Call {
    Call::new("listEvents", "channels", "List the stored events of a channel")
        .about("Needs a `subscribe` grant for the channel.")
        .path("channel", "The channel", schema::channel())
        .query(
            "after",
            "A position, a time in Unix milliseconds, `earliest` (default) or `latest`",
            schema::text(),
        )
        .query("limit", "Maximum number of events; 100 without it", schema::number(1, 1000))
        .answers::<HistoryPage<'static>>(200, "The events, oldest first")
        .refuses(&[Code::BadChannel, Code::BadCursor, Code::UserReads, Code::Overloaded])
}

/// Describes `GET /v1/channels/{channel}/presence`.
pub(in crate::http) fn presence() -> Call {
    Call::new("getPresence", "channels", "Count and list the users of a channel")
        .about("The channel must match a pattern of `session.presence_channels`.")
        .path("channel", "The channel", schema::channel())
        .query(
            "users",
            "Maximum number of users to list; without it, none is listed",
            schema::number(1, 1000),
        )
        .query("after", "The list begins after this user", schema::user())
        .answers::<ChannelPresence>(200, "The numbers, and the users")
        .refuses(&[Code::BadChannel, Code::NotFound])
}
