//! `POST /v1/tickets`: makes a ticket for a stream.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Request, State};
use fanfare_api::tickets::{Ticket, TicketRequest};
use fanfare_broker::clock::ms_of;

use super::app::App;
use super::params::Params;
use super::problem::Problem;
use super::{json_body, letter};
use crate::address::ClientAddress;

/// Handles `POST`. A request without a body gets a ticket with all grants of its token.
///
/// # Errors
///
/// Fails if the body is invalid or asks for more than the token grants, if the user has too many tickets, or if the
/// broker is unavailable.
pub async fn issue(State(app): State<Arc<App>>, request: Request) -> Result<Json<Ticket>, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), &[], &[])?;
    let address = parts.extensions.get::<ClientAddress>().copied().unwrap_or_default();
    let bearer = app.bearer(&parts.headers, &params, address).await?;
    letter::precondition(&parts.method, &parts.headers)?;
    let asked = json_body::read_if_any::<TicketRequest>(&app, &parts, body).await?.unwrap_or_default();
    let now = SystemTime::now();
    let issued = app.tickets.issue(&bearer, asked.subscribe, now).await?;
    let use_before = ms_of(now + issued.life);
    Ok(Json(Ticket {
        ticket: issued.text,
        user: issued.user.to_string(),
        use_before,
        expires: issued.expires,
    }))
}
