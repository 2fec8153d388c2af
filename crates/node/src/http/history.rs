//! `GET /v1/channels/{channel}/events`: the events in a channel's log.

use axum::Extension;
use axum::response::{IntoResponse, Response};
use fanfare_api::history::{HistoryEvent, HistoryPage};
use fanfare_broker::log::{Likely, PageLimit};
use fanfare_protocol::rights::Right;
use fanfare_protocol::start::{Start, StartAt};
use fanfare_protocol::{Channel, Cursor, Entry};
use http::header::CONTENT_TYPE;

use super::Side;
use super::app::App;
use super::channel_call::{AuthenticCall, ChannelCall};
use super::places::Full;
use super::problem::{Code, Problem};
use crate::memory::Kind;
use crate::request_info::RequestInfo;

/// Maximum number of events of one call.
const MAX_LIMIT: usize = 1000;
/// Maximum bytes of events of one call; a single event may be larger.
const MAX_BYTES: usize = 1024 * 1024;
/// Copies of the events while the response is built: as read, as values, and as text.
const COPIES: usize = 3;
/// Default number of events.
const DEFAULT_LIMIT: usize = 100;

/// Handles `GET`.
///
/// # Errors
///
/// Fails if the request is invalid, if there are too many concurrent calls, or if the broker is unavailable.
pub async fn history(
    call: ChannelCall,
    Extension(side): Extension<Side>,
    info: Option<Extension<RequestInfo>>,
) -> Result<Response, Problem> {
    let AuthenticCall { app, channel, params, bearer } = call.authenticate(&["after", "limit"]).await?;
    side.check(&bearer)?;
    if !bearer.grants.may_subscribe(bearer.user.as_ref(), &channel) {
        return Err(Problem::no_grant(format!("the token does not grant subscribe on {channel}")));
    }
    let limit = params.count("limit", MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let begin = begin(params.get("after"))?;
    let place = app.histories.enter(bearer.user.as_ref()).map_err(|full| full_up(full, &app))?;
    let after = match begin {
        StartAt::Position(position) | StartAt::Tip(position) => position,
        from => app.budget.locate(&*app.broker, &channel, from).await?,
    };
    // Reserved while the response is built; afterwards the response reserves its own size.
    let reserve =
        |Extension(info): Extension<RequestInfo>| info.account.reserve(Kind::Responses, COPIES * MAX_BYTES);
    let _room = info.map(reserve).transpose()?;
    let limit = PageLimit { entries: limit, bytes: MAX_BYTES, likely: Likely::Long };
    let page = app.budget.history(&*app.broker, &channel, after, limit).await?;
    let sees_sessions = bearer.grants.admin.has(Right::Look);
    let answer = HistoryPage {
        channel: channel.as_str().into(),
        events: page.entries.iter().map(|entry| event(entry, sees_sessions)).collect(),
        // The next events of a rolled-back log may have positions before the requested one. After those of an expired
        // log, the next call has no gap.
        next: if page.went_back(after) || page.is_expired() { page.last } else { page.next }.to_string(),
        more: !page.end,
        gap: page.gap_after(after),
    };
    let text = serde_json::to_vec(&answer).map_err(|error| {
        tracing::error!(%error, "failed to encode a history page as JSON");
        Problem::new(Code::Internal, "internal error; see the node's log")
    })?;
    drop(page);
    Ok(([(CONTENT_TYPE, "application/json")], place.until_written(text.into())).into_response())
}

/// Returns the problem of a call beyond a limit.
fn full_up(full: Full, app: &App) -> Problem {
    match full {
        Full::User => {
            let most = app.limits.history_reads_per_user;
            Problem::new(
                Code::UserReads,
                format!("the user has {most} history calls in progress, which is the limit (limits.history_reads_per_user)"),
            )
        }
        Full::Node => {
            let most = app.limits.history_reads;
            Problem::new(
                Code::Overloaded,
                format!("this node has {most} history calls in progress, which is the limit (limits.history_reads)"),
            )
        }
    }
    .retry_after(1)
}

fn begin(after: Option<&str>) -> Result<StartAt, Problem> {
    let Some(text) = after else { return Ok(StartAt::Earliest) };
    match Start::parse(text)? {
        Start::Cursor(Cursor::Many(_)) => {
            Err(Problem::new(Code::BadCursor, "this is the cursor of a stream; after= takes a position here"))
        }
        Start::Acked => Err(Problem::new(Code::BadCursor, "after=acked is for streams only")),
        // There is only one channel, so a plain position is exact.
        start => Ok(start.in_channel(&Channel::broadcast(), 1, None)),
    }
}

/// Borrows the texts of an event: a response of a mebibyte is not copied before it is serialized. Only who may list the sessions
/// of all users learns which session does not get the event.
fn event(Entry { position, event, .. }: &Entry, sees_sessions: bool) -> HistoryEvent<'_> {
    let kind = event.kind.as_ref().map_or("message", |kind| kind.as_str());
    let except = event.excepted().filter(|_| sees_sessions).map(ToString::to_string);
    let (id, time) = (position.to_string(), position.ms);
    HistoryEvent { id, time, kind: kind.into(), data: event.data().into(), except }
}

#[cfg(test)]
mod tests {
    use fanfare_protocol::Position;

    use super::*;

    #[test]
    fn history_begins_at_a_position_a_time_or_an_end() {
        assert_eq!(begin(None).unwrap(), StartAt::Earliest);
        assert_eq!(begin(Some("latest")).unwrap(), StartAt::Latest);
        assert_eq!(begin(Some("17-0")).unwrap(), StartAt::Position(Position::new(17, 0)));
        assert_eq!(begin(Some("17")).unwrap(), StartAt::Time(Position::new(17, u64::MAX)));
        let many = Cursor::Many(vec![(1, Position::new(1, 0))]).to_string();
        assert_eq!(begin(Some(&many)).unwrap_err().code, Code::BadCursor);
        assert_eq!(begin(Some("x")).unwrap_err().code, Code::BadCursor);
        assert_eq!(begin(Some("acked")).unwrap_err().code, Code::BadCursor);
    }
}
