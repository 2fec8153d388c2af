//! `POST /v1/sessions/{session}/token`: replaces the token of an open stream.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use fanfare_api::revocations::TokenReplaced;
use fanfare_broker::clock::ms_of;
use fanfare_protocol::SessionKey;
use fanfare_protocol::session::ReplacementToken;
use http::{HeaderMap, Method};

use super::app::App;
use super::letter;
use super::params::Params;
use super::problem::Problem;
use crate::address::ClientAddress;
use crate::auth::Bearer;

/// Handles `POST`. The token of the request replaces that of the stream.
///
/// # Errors
///
/// Fails if the token's user has no such session, or if the broker is unavailable.
pub async fn replace(
    State(app): State<Arc<App>>,
    session: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<TokenReplaced>, Problem> {
    let Path(session) = session?;
    let params = Params::parse(query.as_deref(), &[], &[])?;
    let Bearer { user, grants, expires, stamp, .. } = app.bearer(&headers, &params, address).await?;
    letter::precondition(&Method::POST, &headers)?;
    let session = session.parse().map_err(|error| Problem::bad_request(format!("session: {error}")))?;
    let user = user.ok_or_else(|| Problem::bad_request("a client without a user has no session"))?;
    let expires = expires.map(ms_of);
    let key = SessionKey::new(user, session);
    let node = app.tokens.replace(&key, ReplacementToken { expires, stamp, grants }).await?;
    Ok(Json(TokenReplaced { session: session.to_string(), node: node.to_string(), expires }))
}
