//! `GET /v1/channels/{channel}/events`: what a channel keeps.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use fanfare_broker::log::PageLimit;
use fanfare_protocol::start::{From, Start};
use fanfare_protocol::{Channel, Cursor, Entry};
use http::HeaderMap;
use serde_json::{Value, json};

use super::app::App;
use super::params::Params;
use super::problem::{Code, Problem};
use crate::address::ClientAddress;

/// How many events one call answers at most.
const MAX_LIMIT: usize = 1000;
/// How many bytes of events it answers at most; a single event may be larger.
const MAX_BYTES: usize = 1024 * 1024;
/// How many it answers if nobody says.
const DEFAULT_LIMIT: usize = 100;

/// The call.
///
/// # Errors
///
/// What is wrong with the request, or that the broker is away.
pub async fn history(
    State(app): State<Arc<App>>,
    channel: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<Value>, Problem> {
    let params = Params::parse(query.as_deref(), &["after", "limit"], &[])?;
    let bearer = app.bearer(&headers, &params, address)?;
    let Path(name) = channel.map_err(|_| {
        Problem::new(Code::BadChannel, "the channel in the path is not UTF-8 once it is decoded")
    })?;
    let channel = Channel::new(&name)?;
    if !bearer.grants.may_subscribe(bearer.user.as_ref(), &channel) {
        return Err(Problem::no_grant(format!("the token grants no subscribe for {channel}")));
    }
    let limit = params.count("limit", MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let after = match begin(params.get("after"))? {
        From::Position(position) => position,
        from => app.broker.locate(&channel, from).await?,
    };
    let limit = PageLimit { entries: limit, bytes: MAX_BYTES };
    let page = app.budget.page(&*app.broker, &channel, after, limit).await?;
    let events: Vec<_> = page.entries.iter().map(|entry| event(entry)).collect();
    Ok(Json(json!({
        "channel": channel,
        "events": events,
        // A log that went back may give its next events positions before the one asked for.
        "next": if page.went_back(after) { page.last } else { page.next }.to_string(),
        "more": !page.end,
        "gap": page.gap_after(after),
    })))
}

fn begin(after: Option<&str>) -> Result<From, Problem> {
    let Some(text) = after else { return Ok(From::Earliest) };
    match Start::parse(text)? {
        Start::Cursor(Cursor::Many(_)) => {
            Err(Problem::new(Code::BadCursor, "this cursor is of a stream; here after= takes a position"))
        }
        // One channel is asked for, so a position is its own and nothing else is needed.
        start => Ok(start.in_channel(&Channel::broadcast(), 1, None)),
    }
}

fn event(entry: &Entry) -> Value {
    json!({
        "id": entry.position.to_string(),
        "time": entry.position.ms,
        "type": entry.event.kind.as_ref().map_or("message", |kind| kind.as_str()),
        "data": entry.event.data(),
    })
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Position;

    use super::*;

    #[test]
    fn history_begins_at_a_position_a_time_or_an_end() {
        assert_eq!(begin(None).unwrap(), From::Earliest);
        assert_eq!(begin(Some("latest")).unwrap(), From::Latest);
        assert_eq!(begin(Some("17-0")).unwrap(), From::Position(Position::new(17, 0)));
        assert_eq!(begin(Some("17")).unwrap(), From::Time(Position::new(17, u64::MAX)));
        let many = Cursor::Many(vec![(1, Position::new(1, 0))]).to_string();
        assert_eq!(begin(Some(&many)).unwrap_err().code, Code::BadCursor);
        assert_eq!(begin(Some("x")).unwrap_err().code, Code::BadCursor);
    }
}
