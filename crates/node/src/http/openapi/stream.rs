//! The description of the stream, with a schema for each of its control events.

use fanfare_api::stream::{Connected, Excepted, Expired, Gap, Overloaded, SessionEnded, Shutdown};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::{Call, reference};
use super::schema;
use crate::http::overload::Reason;
use crate::http::problem::Code;

/// Media type of a stream.
const MEDIA_TYPE: &str = "text/event-stream";

/// Describes `GET /v1/events`.
pub(in crate::http) fn events() -> Call {
    let call = Call::new("openStream", "streams", "Open an event stream, or poll with `wait=`")
        .about(
            "A stream begins with the event `connected`, and ends with a control event that says why, or without one if the \
             connection breaks. A node that cannot serve it answers with the event `overloaded`, or, if the request has \
             `Prefer: status`, with a problem. Unknown parameters are ignored.",
        )
        .security(json!([{ "bearer": [] }, { "token": [] }, { "cookie": [] }, { "ticket": [] }]))
        .refuses(&[
            Code::BadCursor,
            Code::BadChannel,
            Code::BadTicket,
            Code::UsedTicket,
            Code::UserSessions,
            Code::Overloaded,
            Code::Draining,
            Code::InternalHere,
        ]);
    let call = parameters(call);
    let (call, item) = items(call);
    let meaning = "The stream. A line that begins with a colon is a heartbeat.";
    call.answers_with(200, meaning, json!({ MEDIA_TYPE: { "itemSchema": item } }))
}

fn parameters(call: Call) -> Call {
    let channels = json!({ "type": "array", "items": schema::channel(), "maxItems": 256 });
    let cursor = "The cursor of the last event that the client has, with the same meaning as `Last-Event-ID`, for clients that \
                 cannot set headers";
    call.query(
        "channel",
        "A channel to subscribe to, beside `user:<id>` and `broadcast`. May be repeated.",
        channels,
    )
    .query("session", "The client's session id; without it, the node creates one", schema::session())
    .query(
        "after",
        "Start position: a cursor, `latest` (default), `earliest`, `acked`, or a Unix time in milliseconds",
        schema::text(),
    )
    .query(
        "device",
        "Whose acknowledged cursor `after=acked` means; without it, that of `session`",
        schema::device(),
    )
    .query(
        "last",
        "Start with the newest events of each channel that has no start position",
        schema::number(1, 1000),
    )
    .query(
        "format",
        "Whether events are as published, or in an envelope",
        json!({ "enum": ["raw", "json"], "default": "raw" }),
    )
    .query("heartbeat", "Seconds of silence after which a heartbeat is sent", schema::number(1, 3600))
    .query(
        "wait",
        "Makes it a long poll, which waits at most this many seconds for an event",
        schema::number(0, 55),
    )
    .query("lastEventId", cursor, schema::text())
    .header("Last-Event-ID", "The cursor of the last event that the client has", schema::text())
    .header(
        "Prefer",
        "`status`: a stream that cannot be served gets a status in place of `overloaded`",
        schema::text(),
    )
}

/// Names the schemas of the events. Returns a reference to that of any of them.
fn items(call: Call) -> (Call, Value) {
    const CONTROL: [&str; 8] =
        ["connected", "gap", "excepted", "superseded", "expired", "shutdown", "disconnected", "overloaded"];
    let call = control::<Connected>(call, CONTROL[0], "The first event of a stream.");
    let call = control::<Gap>(call, CONTROL[1], "Events of a channel may be missing.");
    let call =
        control::<Excepted>(call, CONTROL[2], "The cursor has passed events that the session does not get.");
    let call =
        control::<SessionEnded>(call, CONTROL[3], "Another connection claimed the session; the stream ends.");
    let call = control::<Expired>(call, CONTROL[4], "The stream or its token has expired; the stream ends.");
    let call = control::<Shutdown>(call, CONTROL[5], "The node is draining; the stream ends.");
    let call = control::<SessionEnded>(call, CONTROL[6], "The session was disconnected; the stream ends.");
    let call =
        control::<Overloaded>(call, CONTROL[7], "The stream cannot be served now. It is the whole answer.");
    let published = block(
        "An event as published (`format=raw`).",
        Some(json!({ "type": "string", "not": { "enum": CONTROL } })),
        &schema::text(),
    );
    let envelope = json!({
        "type": "object",
        "description": "An event and its channel, with `format=json`.",
        "required": ["channel", "type", "time", "data"],
        "properties": {
            "channel": schema::channel(),
            "type": { "type": "string", "description": "The event's type; `message` for an event without a type." },
            "id": { "type": "string", "description": "The event's position; an ephemeral event has none." },
            "time": { "type": "integer", "format": "int64", "description": "Time of publication, in Unix milliseconds." },
            "data": { "type": "string", "description": "The event's data." },
        },
    });
    let enveloped = block("An event in its envelope (`format=json`).", None, &data(&reference("Envelope")));
    let mut names: Vec<_> = CONTROL.iter().map(|kind| name(kind)).collect();
    names.extend(["PublishedEvent".to_owned(), "EnvelopedEvent".to_owned()]);
    let any: Vec<_> = names.iter().map(|name| reference(name)).collect();
    let call = call
        .named("PublishedEvent", published)
        .named("EnvelopedEvent", enveloped)
        .named("Envelope", envelope)
        .named("StreamEvent", json!({ "description": "One event of a stream.", "anyOf": any }));
    (call, reference("StreamEvent"))
}

/// Returns the name of the schema of a control event.
fn name(kind: &str) -> String {
    let (first, rest) = kind.split_at(1);
    format!("{}{rest}Event", first.to_uppercase())
}

/// Names the schema of a control event whose data is a `T`.
fn control<T: ToSchema>(call: Call, kind: &str, meaning: &str) -> Call {
    let (mut call, of) = call.reference::<T>();
    if kind == "overloaded" {
        let reasons = json!({ "properties": { "reason": { "enum": Reason::WORDS } } });
        let block = block(meaning, Some(json!({ "const": kind })), &data(&json!({ "allOf": [of, reasons] })));
        call = call.named(&name(kind), block);
    } else {
        call = call.named(&name(kind), block(meaning, Some(json!({ "const": kind })), &data(&of)));
    }
    call
}

/// Returns the schema of data in JSON.
fn data(schema: &Value) -> Value {
    json!({ "type": "string", "contentMediaType": "application/json", "contentSchema": schema })
}

/// Returns the schema of an event's fields; without `kind`, of an event without a type.
fn block(meaning: &str, kind: Option<Value>, data: &Value) -> Value {
    let is_named = kind.as_ref().is_some_and(|kind| kind.get("const").is_some());
    let mut block = json!({
        "type": "object",
        "description": meaning,
        "required": if is_named { &["event", "data"][..] } else { &["data"] },
        "properties": {},
    });
    if let Some(kind) = kind {
        block["properties"]["event"] = kind;
    }
    block["properties"]["data"] = data.clone();
    block["properties"]["id"] = json!({ "type": "string", "description": "The cursor after this event." });
    block["properties"]["retry"] =
        json!({ "type": "integer", "minimum": 0, "description": "The reconnection time, in milliseconds." });
    block
}
