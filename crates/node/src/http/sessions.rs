//! `/v1/users/{user}/sessions`: lists and disconnects a user's sessions.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::{Extension, Json};
use fanfare_api::sessions::{Disconnected, Session, SessionList};
use fanfare_broker::session::SessionInfo;
use fanfare_protocol::User;
use fanfare_protocol::rights::Right;
use http::{HeaderMap, Method};

use super::Side;
use super::app::App;
use super::letter;
use super::params::Params;
use super::problem::{Code, Problem};
use super::revocations::{end_of_second, of_user_until};
use crate::address::ClientAddress;
use crate::audit::{Effect, trail};

/// `GET`: lists a user's sessions.
///
/// # Errors
///
/// Fails if they are another user's, or if the broker is unavailable.
pub async fn list(
    State(app): State<Arc<App>>,
    Extension(side): Extension<Side>,
    user: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<SessionList>, Problem> {
    let Path(user) = user?;
    let params = Params::parse(query.as_deref(), &[], &[])?;
    let user = whose(&app, (side, Right::Look), &user, &params, (&headers, address)).await?;
    let sessions = app.sessions.sessions(&user).await?.into_iter().map(session).collect();
    Ok(Json(SessionList { user: user.id().to_owned(), sessions }))
}

/// `DELETE`: disconnects all of a user's sessions, and with `revoke=true` revokes the user's tokens first.
///
/// # Errors
///
/// Fails if they are another user's, or if the broker is unavailable.
pub async fn end_all(
    State(app): State<Arc<App>>,
    Extension(side): Extension<Side>,
    user: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<Disconnected>, Problem> {
    let Path(user) = user?;
    let params = Params::parse(query.as_deref(), &["revoke"], &[])?;
    let user = whose(&app, (side, Right::Disconnect), &user, &params, (&headers, address)).await?;
    letter::precondition(&Method::DELETE, &headers)?;
    let revoke = params.flag("revoke")?;
    // Stored before the sessions end, so that no token can open another; spread after it, so that most streams end as
    // disconnected, which tells clients not to come back.
    let now = SystemTime::now();
    let revoked =
        if revoke { Some(app.revocations.store(of_user_until(user.clone(), now)).await?) } else { None };
    let disconnected = app.sessions.disconnect(&user, None).await;
    if let Some(revoked) = revoked {
        app.revocations.spread(&revoked).await;
    }
    let before = revoke.then(|| end_of_second(now));
    let ended = disconnected.as_ref().ok().copied();
    trail::note_effect(Effect { disconnected: ended, before, ..Effect::default() });
    Ok(Json(Disconnected { disconnected: disconnected? }))
}

/// `DELETE`: disconnects one session.
///
/// # Errors
///
/// Fails if the session is another user's or does not exist, or if the broker is unavailable.
pub async fn end_one(
    State(app): State<Arc<App>>,
    Extension(side): Extension<Side>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<Disconnected>, Problem> {
    let Path((user, session)) = path?;
    let params = Params::parse(query.as_deref(), &[], &[])?;
    let user = whose(&app, (side, Right::Disconnect), &user, &params, (&headers, address)).await?;
    letter::precondition(&Method::DELETE, &headers)?;
    let session = session.parse().map_err(|error| Problem::bad_request(format!("session: {error}")))?;
    match app.sessions.disconnect(&user, Some(session)).await? {
        0 => Err(Problem::new(Code::NotFound, format!("the user has no session {session}"))),
        disconnected => {
            trail::note_effect(Effect { disconnected: Some(disconnected), ..Effect::default() });
            Ok(Json(Disconnected { disconnected }))
        }
    }
}

/// Returns the user in the path, if that is the bearer, or if the bearer has the right to the sessions of other users on
/// this listener.
async fn whose(
    app: &App,
    (side, right): (Side, Right),
    user: &str,
    params: &Params,
    (headers, address): (&HeaderMap, ClientAddress),
) -> Result<User, Problem> {
    let bearer = app.bearer(headers, params, address).await?;
    let user = User::new(user).map_err(|error| Problem::bad_request(format!("user: {error}")))?;
    match (bearer.user.as_ref() == Some(&user), bearer.grants.admin.has(right)) {
        (true, _) => Ok(user),
        (false, true) if side != Side::Public => Ok(user),
        (false, true) => Err(Problem::new(
            Code::NotFound,
            "sessions of other users are served on the admin listener (admin.listen)",
        )),
        (false, false) => {
            let right = right.as_str();
            Err(Problem::no_grant(format!("sessions of other users need admin, or its right {right}")))
        }
    }
}

fn session(info: SessionInfo) -> Session {
    let SessionInfo { session, node, since, client, epoch: _ } = info;
    Session { id: session.to_string(), node: node.to_string(), since, address: client.to_string() }
}
