//! `GET /v1/events`: the stream.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanfare_broker::session::{PresentIn, SessionClient};
use fanfare_coordination::revocations::stream_token::StreamToken;
use fanfare_coordination::session::{ClaimError, SessionGuard};
use fanfare_hub::Hub;
use fanfare_hub::stream::{Coding, NewStream};
use fanfare_protocol::reader::Reader;
use fanfare_protocol::start::StartAt;
use fanfare_protocol::{Channel, Cursor, Position, SessionId, User};
use futures_util::FutureExt;
use http::header::CONTENT_ENCODING;
use http::{HeaderValue, Method};
use tokio::time::Instant;

use super::Side;
use super::app::App;
use super::attempt::{Attempt, Outcome};
use super::letter;
use super::overload::{self, Reason, Refusal, Refused};
use super::problem::{self, Problem};
use super::stream_headers;
use super::stream_params::{self, StreamParams};
use super::takeover::{Admissions, Takeover};
use crate::address::ClientAddress;
use crate::auth::Bearer;
use crate::rates::{Caller, Kind};
use crate::request_info::RequestInfo;

/// Number of streams beyond `limits.connections` that the admin listener may open: operators see a node that is full.
const ADMIN_STREAMS: usize = 16;

/// The stream endpoint of a listener.
#[derive(Debug)]
pub struct StreamEndpoint {
    app: Arc<App>,
    hub: Hub,
    admissions: Admissions,
    side: Side,
}

impl StreamEndpoint {
    /// Creates the endpoint of a hub. The endpoints of a node share the admissions.
    pub fn new(app: Arc<App>, hub: Hub, admissions: Admissions, side: Side) -> Self {
        Self { app, hub, admissions, side }
    }

    /// Admits a stream: checks the rates of the user and the address, then the limits of the node, then claims the
    /// session. A request that the limits of its user or address refuse is not charged to the node, so that a flood
    /// of one client does not affect others. Neither do clients affect operators, on the admin listener.
    async fn open(
        &self,
        params: StreamParams,
        address: ClientAddress,
        begun: Instant,
    ) -> Result<Takeover, Refusal> {
        if self.app.readiness.is_draining() {
            return Err(Reason::Draining.into());
        }
        let caller = Caller { user: params.bearer.user.as_ref(), address };
        self.app.rates.admit(Kind::Connects, caller, 1).map_err(Reason::Limited)?;
        if self.side == Side::Admin {
            return self.open_at_rate(params, address, begun).await;
        }
        if !self.app.rates.connect() {
            return Err(Reason::Rate.into());
        }
        let opened = self.open_at_rate(params, address, begun).await;
        if opened.is_err() {
            self.app.rates.not_connected();
        }
        opened
    }

    async fn open_at_rate(
        &self,
        params: StreamParams,
        address: ClientAddress,
        begun: Instant,
    ) -> Result<Takeover, Refusal> {
        let more = if self.side == Side::Admin { ADMIN_STREAMS } else { 0 };
        let room = (self.app.limits.connections + more).saturating_sub(self.hub.connections());
        let admission = self.admissions.enter(room).ok_or(Reason::Connections)?;
        if let Some(outage) = (self.app.readiness.outage)() {
            return Err(Reason::Unavailable(outage).into());
        }
        let StreamParams {
            bearer: Bearer { user, expires, stamp, .. },
            ticket,
            mut session,
            named,
            mut channels,
            dialect,
            coding,
            cursor,
            acked,
            heartbeat,
            wait,
        } = params;
        if let Some((user, reader)) = user.as_ref().zip(acked) {
            self.start_from_acked(user, &reader, &mut channels).await?;
        }
        // Last before the claim: what refuses a client that may retry leaves its ticket unused.
        let opening = match &ticket {
            Some(ticket) => Some(self.app.tickets.open(ticket, session).await?),
            None => None,
        };
        session = opening.as_ref().map_or(session, |opening| opening.session);
        let client = SessionClient {
            address: address.to_string().into(),
            polls: wait.is_some(),
            named: named || opening.is_some(),
            resumes: cursor.is_some(),
            present_in: self.present_in(&channels),
        };
        let held = match &user {
            Some(user) => match self.claim(user, session, client).await {
                Ok((held, tip)) => {
                    start_at_tip(user, tip, &mut channels);
                    Some(held)
                }
                Err(reason) => {
                    if let Some(opening) = opening {
                        self.app.tickets.undo(opening).await;
                    }
                    return Err(reason.into());
                }
            },
            None => None,
        };
        let token = stamp.map(|stamp| StreamToken::new(self.app.revocations.clone(), stamp));
        let stream = NewStream {
            begun,
            user,
            session,
            held,
            channels,
            dialect,
            coding,
            expires,
            token,
            cursor,
            heartbeat,
            wait,
        };
        Ok(Takeover::new(stream, admission))
    }
}

impl StreamEndpoint {
    /// Lets the channels in which the reader acknowledged events start after these.
    async fn start_from_acked(
        &self,
        user: &User,
        reader: &Reader,
        channels: &mut [(Channel, StartAt)],
    ) -> Result<(), Reason> {
        let acked =
            self.app.broker.acknowledged(user, reader).await.map_err(|error| Reason::of_broker(&error))?;
        let acked = Cursor::Many(acked);
        for (channel, from) in channels {
            if let Some(position) = acked.position_in(channel) {
                *from = StartAt::Position(position);
            }
        }
        Ok(())
    }

    /// Returns the channels whose presence is recorded.
    fn present_in(&self, channels: &[(Channel, StartAt)]) -> PresentIn {
        let recorded = channels.iter().filter(|(channel, _)| self.app.presence.records(channel));
        recorded.map(|(channel, _)| channel.clone()).collect()
    }

    async fn claim(
        &self,
        user: &User,
        session: SessionId,
        client: SessionClient,
    ) -> Result<(SessionGuard, Option<Position>), Reason> {
        self.app.sessions.claim(user, session, client).await.map_err(|error| match error {
            ClaimError::Full(_) => Reason::UserSessions,
            ClaimError::Draining => Reason::Draining,
            ClaimError::NoLease => Reason::NoLease,
            ClaimError::Broker(error) => Reason::of_broker(&error),
            ClaimError::Panicked(why) => {
                tracing::error!(why, "failed to claim a session");
                Reason::Internal
            }
        })
    }

    /// Returns the response to a request whose stream is not opened.
    fn refuse(&self, refusal: Refusal, refused: Refused<'_>, attempt: Attempt) -> Response {
        attempt.end(&refusal);
        match refusal {
            Refusal::Later(reason) => {
                self.app.metrics.count_overloaded(reason);
                overload::answer(reason, refused, &self.app.limits, &self.app.retry)
            }
            Refusal::Final(problem) => problem.into_response(),
        }
    }
}

/// Lets a user's own channel, followed from its newest event, start at the tip that the claim found: events published in
/// reaction to the user being online come after it.
fn start_at_tip(user: &User, tip: Option<Position>, channels: &mut [(Channel, StartAt)]) {
    let own =
        channels.iter_mut().find(|(channel, from)| channel == user.channel() && *from == StartAt::Latest);
    // Without a tip the hub locates it.
    if let (Some((_, from)), Some(tip)) = (own, tip) {
        *from = StartAt::Tip(tip);
    }
}

/// Converts a panic while a stream is opened to [`Reason::Internal`]: a status `500` would end a native `EventSource`
/// permanently, and another node may succeed.
async fn unless_it_panics<T>(opening: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    AssertUnwindSafe(opening).catch_unwind().await.unwrap_or_else(|panic| {
        problem::log_panic(&*panic);
        Err(Reason::Internal.into())
    })
}

/// Handles `GET`, and `HEAD`, which opens no stream.
pub async fn events(
    State(endpoint): State<Arc<StreamEndpoint>>,
    address: ClientAddress,
    request: Request,
) -> Response {
    let attempt = Attempt::new(endpoint.app.metrics.attempts.clone(), request.method());
    let (headers, query) = (request.headers(), request.uri().query());
    let app = (&*endpoint.app, endpoint.side);
    let params = match StreamParams::read(app, headers, query, address).await {
        Ok(params) => params,
        Err(refusal) => {
            let (dialect, cursor) = stream_params::form(headers, query);
            let status = overload::prefers_status(headers);
            return endpoint.refuse(refusal, Refused { dialect, cursor: cursor.as_deref(), status }, attempt);
        }
    };
    if let Err(problem) = letter::precondition(request.method(), request.headers()) {
        attempt.end(Outcome::Invalid);
        return problem.into_response();
    }
    if request.method() == Method::HEAD {
        let caller = Caller { user: params.bearer.user.as_ref(), address };
        if let Err(limited) = endpoint.app.rates.admit(Kind::Requests, caller, 1) {
            return Problem::from(limited).into_response();
        }
        // Of unknown length, like the stream (RFC 9110, section 8.6).
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
        return head(params.coding).map(|_| body);
    }
    let status = overload::prefers_status(request.headers());
    if RequestInfo::of(request.extensions()).is_some_and(|info| info.no_room.is_some()) {
        let refused = Refused { dialect: params.dialect, cursor: params.cursor.as_deref(), status };
        return endpoint.refuse(Reason::Memory.into(), refused, attempt);
    }
    // The request's head references a read buffer of hyper, and a claim may take a while.
    drop(request);
    let (dialect, coding, cursor) = (params.dialect, params.coding, params.cursor.clone());
    match unless_it_panics(endpoint.open(params, address, attempt.begun())).await {
        Ok(takeover) => {
            takeover.carry(attempt);
            let mut response = head(coding);
            response.extensions_mut().insert(takeover);
            response
        }
        Err(refusal) => {
            endpoint.refuse(refusal, Refused { dialect, cursor: cursor.as_deref(), status }, attempt)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::app;
    use fanfare_hub::dialect::Dialect;

    #[tokio::test]
    async fn a_native_event_source_survives_a_panic() {
        let opened = unless_it_panics(async { panic!("on purpose") }).await;
        let reason = opened.map(|takeover: Takeover| drop(takeover)).unwrap_err();
        assert_eq!(reason, Refusal::Later(Reason::Internal));
        let app = app();
        let answer = |status| {
            let refused = Refused { dialect: Dialect::default(), cursor: Some("17-3"), status };
            overload::answer(Reason::Internal, refused, &app.limits, &app.retry)
        };
        assert_eq!(answer(true).status(), 503, "a balancer asks another node");
        let body = axum::body::to_bytes(answer(false).into_body(), 1000).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("event: overloaded") && body.contains("\"internal\""), "{body}");
    }
}
