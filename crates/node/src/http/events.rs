//! `GET /v1/events`: the stream.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanfare_protocol::sse::Format;
use fanfare_protocol::start::{Start, StartAt};
use fanfare_protocol::{Channel, SessionId, User};
use futures_util::FutureExt;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Method};

use super::accept_encoding::negotiate;
use super::app::App;
use super::handover::{Handover, Openings, Parcel};
use super::head_size;
use super::overload::{self, Reason, Refused};
use super::params::Params;
use super::problem::{Code, Problem};
use super::{problem, resume, stream_headers};
use crate::address::ClientAddress;
use crate::auth::Bearer;
use crate::dialect::Dialect;
use crate::hub::Hub;
use crate::memory::NoRoom;
use crate::rates::{Caller, Kind};
use crate::session::ClaimError;
use crate::stream::{Coding, Framing, Stream};

/// Path of the stream.
pub const PATH: &str = "/v1/events";
/// Maximum value of `last=`.
pub const MAX_LAST: usize = 1000;

/// State of the stream endpoint.
#[derive(Debug)]
pub struct Door {
    app: Arc<App>,
    hub: Hub,
    openings: Openings,
}

/// Validated parameters of a request.
#[derive(Debug, PartialEq)]
struct Plan {
    bearer: Bearer,
    session: SessionId,
    channels: Vec<(Channel, StartAt)>,
    dialect: Dialect,
    coding: Coding,
    /// The cursor that the client sent.
    cursor: Option<Box<str>>,
}

impl Door {
    /// Creates the endpoint of a hub.
    pub fn new(app: Arc<App>, hub: Hub, openings: Openings) -> Self {
        Self { app, hub, openings }
    }

    /// Admits a stream: checks the rates of the user and the address, then the limits of the node, then claims the
    /// session. A request that the limits of its user or address refuse is not charged to the node, so that a flood
    /// of one client does not affect others.
    async fn open(&self, plan: Plan, address: ClientAddress) -> Result<Parcel, Reason> {
        if self.app.readiness.is_draining() {
            return Err(Reason::Draining);
        }
        let caller = Caller { user: plan.bearer.user.as_ref(), address };
        self.app.rates.admit(Kind::Connects, caller, 1).map_err(Reason::Limited)?;
        if !self.app.rates.connect() {
            return Err(Reason::Rate);
        }
        let opened = self.open_at_rate(plan, address).await;
        if opened.is_err() {
            self.app.rates.not_connected();
        }
        opened
    }

    async fn open_at_rate(&self, plan: Plan, address: ClientAddress) -> Result<Parcel, Reason> {
        let room = self.app.limits.connections.saturating_sub(self.hub.connections());
        let opening = self.openings.enter(room).ok_or(Reason::Connections)?;
        if !self.app.readiness.has_broker() {
            return Err(Reason::Unavailable);
        }
        let Plan { bearer: Bearer { user, expires, .. }, session, mut channels, dialect, coding, cursor } =
            plan;
        if let Some(user) = &user {
            self.look_first(user, &mut channels).await?;
        }
        let held = match &user {
            Some(user) => {
                let address = address.to_string().into();
                Some(self.app.sessions.claim(user, session, address).await.map_err(|error| match error {
                    ClaimError::Full(_) => Reason::UserSessions,
                    ClaimError::Unavailable(why) => {
                        tracing::debug!(%why, "failed to claim a session");
                        Reason::Unavailable
                    }
                })?)
            }
            None => None,
        };
        // The listener sets the head and the framing.
        let (head, framing) = (Bytes::new(), Framing::Chunked);
        let stream =
            Stream { user, session, held, channels, dialect, coding, expires, cursor, head, framing };
        Ok(Parcel { stream, opening })
    }
}

impl Door {
    /// Locates the newest event of the user's own channel before the claim reports the user online, so that events
    /// published in reaction to that come after it.
    async fn look_first(&self, user: &User, channels: &mut [(Channel, StartAt)]) -> Result<(), Reason> {
        let own =
            channels.iter_mut().find(|(channel, from)| channel == user.channel() && *from == StartAt::Latest);
        let Some((channel, from)) = own else { return Ok(()) };
        match self.app.broker.locate(channel, StartAt::Latest).await {
            Ok(position) => *from = StartAt::Tip(position),
            Err(error) if error.is_passing() => {
                tracing::debug!(%error, "failed to look up the start position of a stream");
                return Err(Reason::Unavailable);
            }
            // The hub locates it later.
            Err(_) => {}
        }
        Ok(())
    }
}

/// Converts a panic while a stream is opened to [`Reason::Internal`]: a status `500` would end a native `EventSource`
/// permanently, and another node may succeed.
async fn unless_it_panics<T>(opening: impl Future<Output = Result<T, Reason>>) -> Result<T, Reason> {
    AssertUnwindSafe(opening).catch_unwind().await.unwrap_or_else(|panic| {
        problem::log_panic(&*panic);
        Err(Reason::Internal)
    })
}

/// Handles `GET`, and `HEAD`, which opens no stream.
pub async fn events(State(door): State<Arc<Door>>, address: ClientAddress, request: Request) -> Response {
    let plan = match Plan::read(&door.app, request.headers(), request.uri().query()) {
        Ok(plan) => plan,
        Err(problem) => return problem.into_response(),
    };
    if request.method() == Method::HEAD {
        let caller = Caller { user: plan.bearer.user.as_ref(), address };
        if let Err(limited) = door.app.rates.admit(Kind::Requests, caller, 1) {
            return Problem::from(limited).into_response();
        }
        // Of unknown length, like the stream (RFC 9110, section 8.6).
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
        return head(plan.coding).map(|_| body);
    }
    let status = overload::prefers_status(request.headers());
    if request.extensions().get::<NoRoom>().is_some() {
        door.app.metrics.count_overloaded(Reason::Memory);
        let refused = Refused { dialect: plan.dialect, cursor: plan.cursor.as_deref(), status };
        return overload::answer(Reason::Memory, refused, &door.app.limits, &door.app.retry);
    }
    // The request's head references a read buffer of hyper, and a claim may take a while.
    drop(request);
    let (dialect, coding, cursor) = (plan.dialect, plan.coding, plan.cursor.clone());
    match unless_it_panics(door.open(plan, address)).await {
        Ok(parcel) => {
            let mut response = head(coding);
            response.extensions_mut().insert(Handover::new(parcel));
            response
        }
        Err(reason) => {
            door.app.metrics.count_overloaded(reason);
            let refused = Refused { dialect, cursor: cursor.as_deref(), status };
            overload::answer(reason, refused, &door.app.limits, &door.app.retry)
        }
    }
}

/// Returns a stream's response, without the stream.
fn head(coding: Coding) -> Response {
    let mut response = stream_headers().into_response();
    if coding == Coding::Gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

impl Plan {
    fn read(app: &App, headers: &HeaderMap, query: Option<&str>) -> Result<Self, Problem> {
        let mut cursors = Vec::new();
        let other = |name: &str, value: &str| {
            if resume::is_cursor_parameter(name) {
                cursors.push(value.to_owned());
            } else {
                app.ignored.note(name, &app.metrics.ignored_parameters);
            }
        };
        let params =
            Params::parse_known(query, &["session", "after", "last", "format"], &["channel"], other)?;
        let bearer = app.token(headers, &params)?;
        let channels = channels(&bearer, &params, app.limits.channels_per_stream)?;
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
        let session = match params.get("session") {
            Some(text) => text.parse().map_err(|error| Problem::bad_request(format!("session=: {error}")))?,
            None => SessionId::random(),
        };
        let dialect = match params.get("format") {
            None | Some("raw") => Dialect::Fanfare(Format::Raw),
            Some("json") => Dialect::Fanfare(Format::Json),
            Some(_) => return Err(Problem::bad_request("format= must be raw or json")),
        };
        let coding = if app.gzip { negotiate(headers) } else { Coding::Identity };
        Ok(Self { bearer, session, channels, dialect, coding, cursor })
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

    use fanfare_protocol::{Grants, Position};

    use super::*;
    use crate::http::tests::{SECRET, app, app_with, token};

    fn read(query: &str, headers: &[(&str, &str)]) -> Result<Plan, (Code, String)> {
        plan(&app(), query, headers)
    }

    fn plan(app: &App, query: &str, headers: &[(&str, &str)]) -> Result<Plan, (Code, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        Plan::read(app, &map, Some(query)).map_err(|problem| (problem.code, problem.detail))
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.channels.iter().map(|(channel, _)| channel.as_str()).collect()
    }

    #[tokio::test]
    async fn a_stream_joins_its_users_channel_and_broadcast_and_each_asked_for_once() {
        let plan = read("user=7&channel=a&channel=b&channel=a&channel=broadcast", &[]).unwrap();
        assert_eq!(names(&plan), ["user:7", "broadcast", "a", "b"]);
        assert!(plan.channels.iter().all(|(_, from)| *from == StartAt::Latest));
        assert_eq!((plan.dialect, &plan.cursor), (Dialect::Fanfare(Format::Raw), &None));
        assert_eq!(names(&read("", &[]).unwrap()), ["broadcast"]);
        assert_eq!(plan.bearer.grants, Grants::all());
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
    async fn a_native_event_source_survives_a_panic() {
        let opened = unless_it_panics(async { panic!("on purpose") }).await;
        let reason = opened.map(|parcel: Parcel| drop(parcel)).unwrap_err();
        assert_eq!(reason, Reason::Internal);
        let app = app();
        let answer = |status| {
            let refused = Refused { dialect: Dialect::default(), cursor: Some("17-3"), status };
            overload::answer(reason, refused, &app.limits, &app.retry)
        };
        assert_eq!(answer(true).status(), 503, "a balancer asks another node");
        let body = axum::body::to_bytes(answer(false).into_body(), 1000).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("event: overloaded") && body.contains("\"internal\""), "{body}");
    }

    #[tokio::test]
    async fn a_parameter_that_is_not_known_is_ignored_and_counted() {
        let app = app();
        let seen = plan(&app, "_=1718031234567&chanel=a&user=7&lastEventId=", &[]).unwrap();
        assert_eq!(names(&seen), ["user:7", "broadcast"]);
        assert_eq!(app.metrics.ignored_parameters.get(), 2);
    }

    #[tokio::test]
    async fn a_channel_needs_a_grant() {
        let app = app_with(|config| {
            config.auth.mode = Some(crate::config::auth::AuthMode::Jwt);
            config.auth.jwt.secret = Some(crate::config::secret::Secret::new(SECRET.to_owned()));
        });
        let ask = |query: &str| {
            let token = token("7", &serde_json::json!({"subscribe": ["room:*"]}));
            plan(&app, query, &[("authorization", &format!("Bearer {token}"))])
        };
        let granted = ask("channel=room:1").unwrap();
        assert_eq!(names(&granted), ["user:7", "broadcast", "room:1"]);
        assert!(granted.bearer.expires.unwrap() > SystemTime::now());
        assert_eq!(granted.bearer.user, Some(User::new("7").unwrap()));
        assert_eq!(ask("channel=user:8").unwrap_err().0, Code::NoGrant);
        assert!(ask("channel=room:1&channel=log").unwrap_err().1.contains("log"));
        assert_eq!(ask("user=8").unwrap_err().0, Code::BadRequest);
        assert_eq!(plan(&app, "", &[]).unwrap_err().0, Code::NoToken);
    }

    #[tokio::test]
    async fn a_stream_follows_only_so_many_channels() {
        let app = app_with(|config| config.limits.channels_per_stream = 3);
        assert!(plan(&app, "user=7&channel=a&channel=a", &[]).is_ok());
        let (code, detail) = plan(&app, "user=7&channel=a&channel=b", &[]).unwrap_err();
        assert_eq!(code, Code::BadRequest);
        assert!(detail.contains('3'), "{detail}");
    }
}
