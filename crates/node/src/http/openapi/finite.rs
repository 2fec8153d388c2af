//! The descriptions of the calls about finite streams.

use serde_json::{Value, json};

use super::call::Call;
use super::schema;
use crate::http::problem::Code;

const TAG: &str = "finite-streams";

/// Headers of a producer.
const PRODUCER: [(&str, &str); 3] = [
    ("Producer-Id", "The producer, whose repeated appends count once"),
    ("Producer-Epoch", "Grows when the producer starts again"),
    ("Producer-Seq", "Number of the append in the epoch, from 0"),
];

fn call(id: &'static str, summary: &'static str, grant: &'static str) -> Call {
    Call::new(id, TAG, summary)
        .about(grant)
        .path("name", "The stream: the rest of the path, which may have slashes", schema::text())
        .refuses(&[Code::NotFound, Code::BadChannel, Code::Gone])
}

/// Adds a response without a body, and with the place behind the last byte.
fn done(call: Call, status: u16, meaning: &str) -> Call {
    let call = call.answers_with(status, meaning, Value::Null);
    call.with_header(status, "Stream-Next-Offset", "The place behind the last byte")
}

/// Adds the headers that end a stream.
fn ends(call: Call) -> Call {
    let kinds = json!({ "enum": ["complete", "error", "cancelled"] });
    call.header("Stream-Closed", "`true` ends the stream", schema::text())
        .header("Stream-End", "How it ends; `complete` without it", kinds)
        .header("Stream-End-Reason", "Why, for readers", schema::text())
}

/// Describes `PUT /v1/stream/{name}`.
pub(in crate::http) fn create() -> Call {
    let call = call(
        "createFiniteStream",
        "Create a finite stream, or a fork of one",
        "Needs a `publish` grant for `stream:<name>`.",
    )
    .takes_any("The first bytes; `Content-Type` is what all bytes of the stream are.")
    .header("Stream-TTL", "Seconds after the last read or write for which it is kept", schema::text())
    .header("Stream-Expires-At", "Time until which it is kept (RFC 3339)", schema::text())
    .header("Stream-Lease", "Seconds for which its producer may be silent, 1 to 3600", schema::text())
    .header("Stream-Forked-From", "Path of the stream whose bytes it begins with", schema::text())
    .header("Stream-Fork-Offset", "Where the bytes of the source end; at its end without it", schema::text())
    .header("Stream-Fork-Sub-Offset", "Bytes, or messages of JSON, behind that offset", schema::text())
    .refuses(&[Code::StreamExists, Code::StreamConflict]);
    done(done(ends(call), 201, "It was created"), 200, "It exists with the same settings")
}

/// Describes `POST /v1/stream/{name}`.
pub(in crate::http) fn append() -> Call {
    let call = call(
        "appendToFiniteStream",
        "Append bytes, end the stream, or both",
        "Needs a `publish` grant for `stream:<name>`.",
    )
    .takes_any("The bytes; `Content-Type` must be that of the stream.")
    .header("Stream-Seq", "A text that is bytewise greater than the last one of the stream", schema::text())
    .refuses(&[Code::StreamClosed, Code::StreamConflict, Code::ProducerGap, Code::StaleProducer]);
    let call =
        PRODUCER.into_iter().fold(call, |call, (name, meaning)| call.header(name, meaning, schema::text()));
    let call = done(ends(call), 200, "The bytes of a producer were appended");
    done(call, 204, "The bytes were appended, or had been before, or the stream has ended")
}

/// Describes `GET /v1/stream/{name}`.
pub(in crate::http) fn read() -> Call {
    let modes = json!({ "enum": ["long-poll", "sse", "raw"] });
    let content = json!({
        "application/json": { "schema": { "type": "array", "description": "The messages" } },
        "text/event-stream": { "schema": schema::text() },
        "text/plain": { "schema": schema::text() },
        "*/*": {},
    });
    let call = call(
        "readFiniteStream",
        "Read a finite stream",
        "Needs a `subscribe` grant for `stream:<name>`.",
    )
    .about("With `live=sse`, the answer has events `data` and `control`, and ends after `finite.live_age`.")
    .about("With `live=raw`, it has the bytes, or messages as lines, and ends with the stream; else it breaks off.")
    .query("offset", "A `Stream-Next-Offset`, `-1` (the start, default) or `now`", schema::text())
    .query("live", "How to wait for what comes", modes)
    .query("cursor", "The `Stream-Cursor` of the last answer", schema::text())
    .query("ended", "`204` answers with that status if the stream has ended", json!({ "enum": ["204"] }))
    .query("missing", "`204` answers with that status if there is no such stream", json!({ "enum": ["204"] }))
    .header("Last-Event-ID", "With `live=sse`: the `id` of the last event, in place of `offset`", schema::text())
    .header("If-None-Match", "The `ETag` of an answer that the client has", schema::text())
    .refuses(&[Code::Overloaded])
    .answers_with(200, "Bytes of the stream, of its media type", content);
    done(call, 204, "A long poll without new bytes; `ended=204` or `missing=204` applies; nothing is behind `Last-Event-ID`").answers_with(
        304,
        "The client has this answer",
        Value::Null,
    )
}

/// Describes `HEAD /v1/stream/{name}`.
pub(in crate::http) fn inspect() -> Call {
    let call = call(
        "inspectFiniteStream",
        "Get what a finite stream is",
        "Needs a `subscribe` grant for `stream:<name>`.",
    );
    done(call, 200, "Its media type, its end, and how long it is kept")
}

/// Describes `DELETE /v1/stream/{name}`.
pub(in crate::http) fn remove() -> Call {
    call("deleteFiniteStream", "Delete a finite stream", "Needs a `publish` grant for `stream:<name>`.")
        .answers_with(204, "It was deleted", Value::Null)
}
