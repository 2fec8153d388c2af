//! The descriptions of what operators, probes and monitoring call.

use fanfare_api::channel_settings::ChannelSettings;
use fanfare_api::dead_letters::{DeadLetter, DeadLetterPage, Dropped, Requeued};
use fanfare_api::finite_streams::FiniteStreamPage;
use fanfare_api::health::{Health, Readiness};
use fanfare_api::nodes::NodeList;
use fanfare_api::revocations::Revocation;
use serde_json::{Value, json};

use super::call::Call;
use super::schema;
use crate::http::problem::Code;

const TAG: &str = "operations";

/// Describes `GET /v1/nodes`.
pub(in crate::http) fn nodes() -> Call {
    Call::new("listNodes", TAG, "List the nodes of the cluster")
        .about("Needs the right `look`.")
        .answers::<NodeList>(200, "The nodes that hold a lease")
}

/// Describes `GET /v1/streams`.
pub(in crate::http) fn finite_streams() -> Call {
    Call::new("listFiniteStreams", TAG, "List the finite streams")
        .about("Needs the right `look`.")
        .query("after", "The `next` of the page before", schema::text())
        .answers::<FiniteStreamPage>(200, "A page of them, which may be empty before the last")
}

/// Describes `GET /v1/channels/{channel}/settings`.
pub(in crate::http) fn channel_settings() -> Call {
    Call::new("getChannelSettings", TAG, "Get the settings in force for a channel")
        .about("Needs the right `look`.")
        .path("channel", "The channel", schema::channel())
        .answers::<ChannelSettings>(200, "What is kept of the channel, and whether its presence is recorded")
        .refuses(&[Code::BadChannel])
}

/// Describes `POST /v1/revocations`.
pub(in crate::http) fn revoke() -> Call {
    Call::new("revoke", TAG, "Revoke a token, or the tokens of a user")
        .about("Needs the right `disconnect`.")
        .takes::<Revocation>(true, "Either `jti`, or `user` and optionally `before`")
        .answers::<Revocation>(200, "The revocation, which is stored")
        .refuses(&[Code::RevocationsFull])
}

/// Describes `GET /v1/dead-letters`.
pub(in crate::http) fn dead_letters() -> Call {
    Call::new("listDeadLetters", TAG, "List intake entries that could not be published")
        .about("Needs `admin`.")
        .query("after", "The list begins after this entry", schema::position())
        .query("limit", "Maximum number of entries; 100 without it", schema::number(1, 1000))
        .answers::<DeadLetterPage>(200, "The entries, oldest first, without their fields")
}

/// Describes `GET /v1/dead-letters/{id}`.
pub(in crate::http) fn dead_letter() -> Call {
    of_entry(Call::new("getDeadLetter", TAG, "Get an entry with its fields"))
        .answers::<DeadLetter>(200, "The entry")
}

/// Describes `DELETE /v1/dead-letters/{id}`.
pub(in crate::http) fn drop_dead_letter() -> Call {
    of_entry(Call::new("dropDeadLetter", TAG, "Remove an entry"))
        .answers::<Dropped>(200, "The entry was removed")
}

/// Describes `POST /v1/dead-letters/{id}/requeue`.
pub(in crate::http) fn requeue() -> Call {
    of_entry(Call::new("requeueDeadLetter", TAG, "Move an entry back to the end of the intake"))
        .answers::<Requeued>(200, "The entry was moved")
        .refuses(&[Code::Incomplete])
}

fn of_entry(call: Call) -> Call {
    call.about("Needs `admin`.")
        .path("id", "Id in the dead-letter stream", schema::position())
        .refuses(&[Code::NotFound])
}

/// Describes `GET /v1/problems`.
pub(in crate::http) fn problems() -> Call {
    Call::open("listProblemTypes", TAG, "Get the page of the problem types, to which `type` refers")
        .answers_schema(200, "text/html", "The page", schema::text())
}

/// Describes `GET /healthz`.
pub(in crate::http) fn healthz() -> Call {
    Call::open("checkHealth", TAG, "Check that the process answers")
        .answers::<Health>(200, "The process answers")
}

/// Describes `GET /ready`.
pub(in crate::http) fn ready() -> Call {
    Call::open("checkReady", TAG, "Check whether the node is ready for new streams, without a reason")
        .answers_with(204, "The node is ready", Value::Null)
        .answers_with(503, "The node is not ready, which has no body", Value::Null)
}

/// Describes `GET /readyz`.
pub(in crate::http) fn readyz() -> Call {
    Call::open("checkReadiness", TAG, "Check whether the node is ready for new streams, with the reasons")
        .answers::<Readiness>(200, "The node is ready")
        .answers::<Readiness>(503, "The node is not ready")
}

/// Describes `GET /metrics`.
pub(in crate::http) fn metrics() -> Call {
    let text = json!({ "schema": schema::text() });
    Call::open("getMetrics", TAG, "Get the metrics").answers_with(
        200,
        "The metrics",
        json!({ "text/plain": text, "application/openmetrics-text": text }),
    )
}
