//! `GET /v1/channels/{channel}/settings`: the settings in force for a channel.

use std::time::Duration;

use axum::Json;
use fanfare_api::channel_settings::{ChannelRetention, ChannelSettings};
use fanfare_protocol::rights::Right;

use super::channel_call::{AuthenticCall, ChannelCall};
use super::problem::Problem;

/// Handles `GET`.
///
/// # Errors
///
/// Fails if the request is invalid, or if the bearer may not look.
pub async fn settings(call: ChannelCall) -> Result<Json<ChannelSettings>, Problem> {
    let AuthenticCall { app, channel, bearer, .. } = call.authenticate(&[]).await?;
    if !bearer.grants.admin.has(Right::Look) {
        return Err(Problem::no_grant("the settings of channels need admin, or its right look"));
    }
    let kept = app.retention.of(&channel);
    let retention = ChannelRetention {
        rule: app.retention.rule(&channel).map(|(pattern, _)| pattern.as_str().to_owned()),
        events: kept.events,
        age: milliseconds(kept.age),
        positions: milliseconds(kept.positions.max(kept.age)),
    };
    let presence = app.presence.records(&channel);
    Ok(Json(ChannelSettings { presence, channel: channel.as_str().to_owned(), retention }))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
