//! The parameters of a stream request.

use std::collections::HashMap;
use std::time::Duration;

use fanfare_hub::dialect::Dialect;
use fanfare_hub::stream::Coding;
use fanfare_protocol::reader::Reader;
use fanfare_protocol::sse::Format;
use fanfare_protocol::start::{Start, StartAt};
use fanfare_protocol::{Channel, SessionId};
use http::HeaderMap;

use super::Side;
use super::accept_encoding::negotiate;
use super::app::App;
use super::overload::Refusal;
use super::params::Params;
use super::problem::{Code, Problem};
use super::{acks, head_size, resume};
use crate::address::ClientAddress;
use crate::auth::Bearer;
use crate::auth::tickets::Presented;

/// Path of the stream.
pub(super) const PATH: &str = "/v1/events";
/// Maximum value of `last=`.
const MAX_LAST: usize = 1000;
/// Maximum value of `heartbeat=`, in seconds.
const MAX_HEARTBEAT: usize = 3600;
/// Maximum value of `wait=`, in seconds: balancers close requests without an answer after a minute.
const MAX_WAIT: u64 = 55;

/// Validated parameters of a stream request.
#[derive(Debug, PartialEq)]
pub(super) struct StreamParams {
    pub(super) bearer: Bearer,
    /// The ticket, which is not used yet.
    pub(super) ticket: Option<Presented>,
    pub(super) session: SessionId,
    /// Whether the client or its ticket named it.
    pub(super) named: bool,
    pub(super) channels: Vec<(Channel, StartAt)>,
    pub(super) dialect: Dialect,
    pub(super) coding: Coding,
    /// The cursor that the client sent.
    pub(super) cursor: Option<Box<str>>,
    /// Whose acknowledged cursor the stream starts from.
    pub(super) acked: Option<Reader>,
    /// The heartbeat that the client asks for.
    pub(super) heartbeat: Option<Duration>,
    /// For a long poll, how long it waits for a first event.
    pub(super) wait: Option<Duration>,
}

impl StreamParams {
    /// Parses a request, and authenticates it.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is invalid, or if the token is missing or does not grant a channel.
    pub(super) async fn read(
        (app, side): (&App, Side),
        headers: &HeaderMap,
        query: Option<&str>,
        address: ClientAddress,
    ) -> Result<Self, Refusal> {
        let mut cursors = Vec::new();
        let other = |name: &str, value: &str| {
            if resume::is_cursor_parameter(name) {
                cursors.push(value.to_owned());
            } else {
                app.ignored.note(name, &app.metrics.ignored_parameters);
            }
        };
        let params = Params::parse_known(
            query,
            &["session", "device", "after", "last", "format", "heartbeat", "ticket", "wait"],
            &["channel"],
            other,
        )?;
        let session = named_session(&params)?;
        let resumes = resume::resumes(headers, cursors.iter().map(String::as_str));
        let (bearer, ticket) = app.stream_bearer(headers, &params, (resumes, session), address).await?;
        side.check(&bearer)?;
        let channels = channels(&bearer, &params, app.limits.channels_per_stream)?;
        if side == Side::Public && channels.iter().any(Channel::is_internal) {
            let detail = "what nodes publish about themselves is served on the admin listener (admin.listen)";
            return Err(Problem::new(Code::NotFound, detail).into());
        }
        head_size::check_stream((PATH, query), headers, channels.len(), app.limits.head_bytes)?;
        let cursors = cursors.iter().map(String::as_str);
        let start = resume::start(headers, cursors, params.get("after"))?;
        let cursor = match &start {
            Start::Cursor(cursor) => Some(cursor.to_string().into()),
            _ => None,
        };
        let newest = params.count("last", MAX_LAST)?;
        let followed = channels.len();
        let from = |channel: Channel| {
            let from = start.in_channel(&channel, followed, newest);
            (channel, from)
        };
        let channels = channels.into_iter().map(from).collect();
        let bound = ticket.as_ref().and_then(|ticket| ticket.bound);
        let named = bound.or(session);
        let heartbeat = params.count("heartbeat", MAX_HEARTBEAT)?;
        let heartbeat = heartbeat.map(|seconds| Duration::from_secs(seconds as u64));
        let wait = wait(&params, &bearer, named)?;
        let (session, named) = (named.unwrap_or_else(SessionId::random), named.is_some());
        let dialect = match params.get("format") {
            None | Some("raw") => Dialect::Fanfare(Format::Raw),
            Some("json") => Dialect::Fanfare(Format::Json),
            Some(_) => return Err(Problem::bad_request("format= must be raw or json").into()),
        };
        let acked = match &start {
            Start::Acked => Some(reader(&bearer, &params)?),
            _ => None,
        };
        let coding = if app.gzip { negotiate(headers) } else { Coding::Identity };
        Ok(Self { bearer, ticket, session, named, channels, dialect, coding, cursor, acked, heartbeat, wait })
    }
}

/// Returns whose acknowledged cursor a request means with `device=` or `session=`.
///
/// # Errors
///
/// Fails if there is neither, if the device's name is invalid, or if the client has no user.
fn reader(bearer: &Bearer, params: &Params) -> Result<Reader, Problem> {
    if bearer.user.is_none() {
        return Err(Problem::bad_request("a client without a user has no acknowledged cursor"));
    }
    acks::reader(params.get("device"), params.get("session"))
}

/// Returns how long a long poll waits for a first event; `None` for a stream.
///
/// # Errors
///
/// Fails if the time is invalid, or if a user's client does not name its session: each poll would be another session.
fn wait(params: &Params, bearer: &Bearer, session: Option<SessionId>) -> Result<Option<Duration>, Problem> {
    let Some(text) = params.get("wait") else { return Ok(None) };
    let seconds = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let Some(seconds) = seconds.filter(|seconds| *seconds <= MAX_WAIT) else {
        let detail = format!("wait= must be a whole number of seconds from 0 to {MAX_WAIT}");
        return Err(Problem::bad_request(detail));
    };
    if bearer.user.is_some() && session.is_none() {
        let detail =
            "wait= needs session=: choose one UUID and send it with each poll, so that they are one session";
        return Err(Problem::bad_request(detail));
    }
    Ok(Some(Duration::from_secs(seconds)))
}

/// Returns the session that the client named.
fn named_session(params: &Params) -> Result<Option<SessionId>, Problem> {
    let parse = |text: &str| text.parse().map_err(|error| Problem::bad_request(format!("session=: {error}")));
    params.get("session").map(parse).transpose()
}

/// Returns the dialect and the cursor of a request whose other parameters may be invalid.
pub(super) fn form(headers: &HeaderMap, query: Option<&str>) -> (Dialect, Option<Box<str>>) {
    let mut cursors = Vec::new();
    let other = |name: &str, value: &str| {
        if resume::is_cursor_parameter(name) {
            cursors.push(value.to_owned());
        }
    };
    let params = Params::parse_known(query, &["format"], &[], other).ok();
    let dialect = match params.as_ref().and_then(|params| params.get("format")) {
        Some("json") => Dialect::Fanfare(Format::Json),
        _ => Dialect::Fanfare(Format::Raw),
    };
    match resume::start(headers, cursors.iter().map(String::as_str), None) {
        Ok(Start::Cursor(cursor)) => (dialect, Some(cursor.to_string().into())),
        _ => (dialect, None),
    }
}

/// Returns each channel once: the user's own, `broadcast`, and the requested ones.
fn channels(bearer: &Bearer, params: &Params, limit: usize) -> Result<Vec<Channel>, Problem> {
    let mut channels = Vec::new();
    let mut tags: HashMap<u64, Channel> = HashMap::new();
    let joined = bearer.user.iter().map(|user| user.channel().clone()).chain([Channel::broadcast()]);
    let asked = params.all("channel").map(Channel::new);
    for channel in joined.map(Ok).chain(asked) {
        let channel = channel?;
        match tags.get(&channel.tag()) {
            Some(same) if *same == channel => continue,
            // A collision of tags (one in 2^48): a cursor could not distinguish the channels.
            Some(other) => {
                let detail = format!("one stream cannot follow both {channel} and {other}: open two streams");
                return Err(Problem::new(Code::BadChannel, detail));
            }
            None => {}
        }
        if !bearer.grants.may_subscribe(bearer.user.as_ref(), &channel) {
            return Err(Problem::no_grant(format!("the token does not grant subscribe on {channel}")));
        }
        tags.insert(channel.tag(), channel.clone());
        channels.push(channel);
    }
    // The number of collected channels is bounded by the request's head.
    if channels.len() > limit {
        let asked = channels.len();
        let detail =
            format!("the stream would follow {asked} channels, implicit ones included; the limit is {limit}");
        return Err(Problem::bad_request(detail));
    }
    Ok(channels)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fanfare_protocol::{Grants, Position, User};
    use futures_util::FutureExt;

    use super::*;
    use crate::http::tests::{SECRET, app, app_with, token};

    fn read(query: &str, headers: &[(&str, &str)]) -> Result<StreamParams, (Code, String)> {
        params(&app(), query, headers)
    }

    fn params(app: &App, query: &str, headers: &[(&str, &str)]) -> Result<StreamParams, (Code, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        // No keys are fetched.
        let params = StreamParams::read((app, Side::Both), &map, Some(query), ClientAddress::default());
        params.now_or_never().unwrap().map_err(|refusal| match refusal {
            Refusal::Final(problem) => (problem.code, problem.detail),
            Refusal::Later(reason) => panic!("{reason:?}"),
        })
    }

    fn names(params: &StreamParams) -> Vec<&str> {
        params.channels.iter().map(|(channel, _)| channel.as_str()).collect()
    }

    #[tokio::test]
    async fn a_stream_joins_its_users_channel_and_broadcast_and_each_asked_for_once() {
        let params = read("user=7&channel=a&channel=b&channel=a&channel=broadcast", &[]).unwrap();
        assert_eq!(names(&params), ["user:7", "broadcast", "a", "b"]);
        assert!(params.channels.iter().all(|(_, from)| *from == StartAt::Latest));
        assert_eq!((params.dialect, &params.cursor), (Dialect::Fanfare(Format::Raw), &None));
        assert_eq!(names(&read("", &[]).unwrap()), ["broadcast"]);
        assert_eq!(params.bearer.grants, Grants::all());
    }

    #[tokio::test]
    async fn every_way_to_say_where_to_begin() {
        let of = |query: &str, headers: &[(&str, &str)]| read(query, headers).unwrap().channels[0].1;
        assert_eq!(of("after=earliest", &[]), StartAt::Earliest);
        assert_eq!(of("after=1000", &[]), StartAt::Time(Position::new(1000, u64::MAX)));
        assert_eq!(of("after=17-3", &[]), StartAt::Position(Position::new(17, 3)));
        assert_eq!(of("after=17-3&user=7", &[]), StartAt::Time(Position::new(17, 3)));
        assert_eq!(of("last=5", &[]), StartAt::Newest(5));
        assert_eq!(
            of("after=earliest", &[("last-event-id", "17-3")]),
            StartAt::Position(Position::new(17, 3))
        );
        assert_eq!(of("after=earliest", &[("last-event-id", "")]), StartAt::Earliest);
        assert_eq!(of("after=earliest&last_event_id=17-3", &[]), StartAt::Position(Position::new(17, 3)));
        assert_eq!(
            of("lastEventId=1-1", &[("last-event-id", "17-3")]),
            StartAt::Position(Position::new(17, 3))
        );
        assert_eq!(of("after=&lastEventID=", &[]), StartAt::Latest);
        assert_eq!(read("", &[("last-event-id", "17-3")]).unwrap().cursor.as_deref(), Some("17-3"));
        assert_eq!(read("last-event-id=17-3", &[]).unwrap().cursor.as_deref(), Some("17-3"));
        assert_eq!(read("after=17-3", &[]).unwrap().cursor.as_deref(), Some("17-3"));
        assert_eq!(read("after=earliest", &[]).unwrap().cursor, None);
    }

    #[tokio::test]
    async fn a_client_asks_for_a_heartbeat_and_for_a_long_poll() {
        let wait = |query: &str| read(query, &[]).unwrap().wait;
        assert_eq!(wait("channel=a"), None);
        assert_eq!(read("heartbeat=7", &[]).unwrap().heartbeat, Some(Duration::from_secs(7)));
        assert_eq!(wait("wait=0"), Some(Duration::ZERO));
        assert_eq!(
            wait(&format!("user=7&wait=55&session={}", SessionId::random())),
            Some(Duration::from_secs(55))
        );
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_and_nothing_guessed() {
        for (query, headers, code, word) in [
            ("format=xml", &[][..], Code::BadRequest, "format="),
            ("format=raw&format=raw", &[], Code::BadRequest, "format="),
            ("session=7", &[], Code::BadRequest, "UUID"),
            ("session=", &[], Code::BadRequest, "UUID"),
            ("last=0", &[], Code::BadRequest, "last="),
            ("last=1001", &[], Code::BadRequest, "1000"),
            ("after=yesterday", &[], Code::BadCursor, "cursor"),
            ("lastEventId=12", &[], Code::BadCursor, "cursor"),
            ("after=aAAAA", &[], Code::BadCursor, "damaged"),
            ("", &[("last-event-id", "12")], Code::BadCursor, "cursor"),
            ("", &[("last-event-id", "latest")], Code::BadCursor, "cursor"),
            ("", &[("last-event-id", "1-1"), ("last-event-id", "1-2")], Code::BadCursor, "two different"),
            ("heartbeat=0", &[], Code::BadRequest, "from 1 to 3600"),
            ("heartbeat=5s", &[], Code::BadRequest, "heartbeat="),
            ("wait=", &[], Code::BadRequest, "wait= must be"),
            ("wait=56", &[], Code::BadRequest, "from 0 to 55"),
            ("wait=-1", &[], Code::BadRequest, "wait="),
            ("wait=1&wait=2", &[], Code::BadRequest, "wait="),
            ("user=7&wait=5", &[], Code::BadRequest, "session="),
            ("channel=", &[], Code::BadChannel, "empty"),
            ("channel=a+b", &[], Code::BadChannel, "' '"),
            ("channel=%FF", &[], Code::BadChannel, "byte 0"),
            ("channel=a%0Ab", &[], Code::BadChannel, "byte 1"),
            ("user=", &[], Code::BadRequest, "user"),
        ] {
            let (got, detail) = read(query, headers).expect_err(query);
            assert_eq!(got, code, "{query}: {detail}");
            assert!(detail.contains(word), "{query}: {detail}");
        }
    }

    #[tokio::test]
    async fn a_parameter_that_is_not_known_is_ignored_and_counted() {
        let app = app();
        let seen = params(&app, "_=1718031234567&chanel=a&user=7&lastEventId=", &[]).unwrap();
        assert_eq!(names(&seen), ["user:7", "broadcast"]);
        assert_eq!(app.metrics.ignored_parameters.get(), 2);
    }

    #[tokio::test]
    async fn a_channel_needs_a_grant() {
        let app = app_with(|config| {
            config.auth.mode = Some(fanfare_config::auth::AuthMode::Jwt);
            config.auth.jwt.secret = Some(fanfare_config::secret::Secret::new(SECRET.to_owned()));
        });
        let ask = |query: &str| {
            let token = token("7", &serde_json::json!({"subscribe": ["room:*"]}));
            params(&app, query, &[("authorization", &format!("Bearer {token}"))])
        };
        let granted = ask("channel=room:1").unwrap();
        assert_eq!(names(&granted), ["user:7", "broadcast", "room:1"]);
        assert!(granted.bearer.expires.unwrap() > SystemTime::now());
        assert_eq!(granted.bearer.user, Some(User::new("7").unwrap()));
        assert_eq!(ask("channel=user:8").unwrap_err().0, Code::NoGrant);
        assert!(ask("channel=room:1&channel=log").unwrap_err().1.contains("log"));
        assert_eq!(ask("user=8").unwrap_err().0, Code::BadRequest);
        assert_eq!(params(&app, "", &[]).unwrap_err().0, Code::NoToken);
    }

    #[tokio::test]
    async fn a_stream_follows_only_so_many_channels() {
        let app = app_with(|config| config.limits.channels_per_stream = 3);
        assert!(params(&app, "user=7&channel=a&channel=a", &[]).is_ok());
        let (code, detail) = params(&app, "user=7&channel=a&channel=b", &[]).unwrap_err();
        assert_eq!(code, Code::BadRequest);
        assert!(detail.contains('3'), "{detail}");
    }
}
