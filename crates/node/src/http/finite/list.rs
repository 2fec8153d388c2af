//! `GET /v1/streams`: the finite streams, for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use fanfare_api::finite_streams::{FiniteStream, FiniteStreamPage};
use fanfare_broker::stream_store::StreamInfo;
use fanfare_protocol::finite::{Life, StreamName};
use fanfare_protocol::rights::Right;
use http::HeaderMap;

use crate::address::ClientAddress;
use crate::http::app::App;
use crate::http::params::Params;
use crate::http::problem::Problem;

/// Handles `GET`.
///
/// # Errors
///
/// Fails if the bearer may not list streams, or if the broker is unavailable.
pub async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<FiniteStreamPage>, Problem> {
    let params = Params::parse(query.as_deref(), &["after"], &[])?;
    if !app.bearer(&headers, &params, address).await?.grants.admin.has(Right::Look) {
        return Err(Problem::no_grant("listing the finite streams needs admin, or its right look"));
    }
    let after = params.get("after").map_or(Ok(0), str::parse);
    let after = after.map_err(|_| Problem::bad_request("after= must be the next of a page before"))?;
    let list = app.broker.list_streams(after).await?;
    let lapses = list.streams.iter().filter(|(_, info)| info.lapsed).count();
    app.finite.metrics.lapses.inc_by(lapses as u64);
    let streams = list.streams.into_iter().map(stream).collect();
    Ok(Json(FiniteStreamPage { streams, next: list.next.map(|next| next.to_string()) }))
}

fn stream((name, info): (StreamName, StreamInfo)) -> FiniteStream {
    let StreamInfo { tail, media_type, life, end, .. } = info;
    let (kind, reason) = end.map(|end| (end.kind.to_string(), end.reason)).unzip();
    let (ttl, expires_at) = match life {
        Life::Unset => (None, None),
        Life::Ttl(seconds) => (Some(seconds), None),
        Life::Until(expiry) => (None, Some(expiry.text)),
    };
    FiniteStream {
        name: name.as_str().to_owned(),
        media_type: media_type.as_str().to_owned(),
        bytes: tail,
        end: kind,
        reason: reason.filter(|reason| !reason.is_empty()),
        ttl,
        expires_at,
    }
}
