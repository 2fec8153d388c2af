//! `GET /v1/channels/{channel}/settings`: the settings in force for a channel.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use fanfare_api::channel_settings::{ChannelRetention, ChannelSettings};
use fanfare_protocol::Channel;
use fanfare_protocol::rights::Right;
use http::HeaderMap;

use super::app::App;
use super::params::Params;
use super::problem::{Code, Problem};
use crate::address::ClientAddress;

/// Handles `GET`.
///
/// # Errors
///
/// Fails if the request is invalid, or if the bearer may not look.
pub async fn settings(
    State(app): State<Arc<App>>,
    channel: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<ChannelSettings>, Problem> {
    let params = Params::parse(query.as_deref(), &[], &[])?;
    if !app.bearer(&headers, &params, address).await?.grants.admin.has(Right::Look) {
        return Err(Problem::no_grant("the settings of channels need admin, or its right look"));
    }
    let Path(name) = channel.map_err(|_| {
        Problem::new(Code::BadChannel, "the channel in the path is not UTF-8 after percent-decoding")
    })?;
    let channel = Channel::new(&name)?;
    let kept = app.retention.of(&channel);
    let retention = ChannelRetention {
        rule: app.retention.rule(&channel).map(|(pattern, _)| pattern.as_str().to_owned()),
        events: kept.events,
        age: milliseconds(kept.age),
        positions: milliseconds(kept.positions.max(kept.age)),
    };
    Ok(Json(ChannelSettings { presence: app.presence.records(&channel), channel: name, retention }))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
