//! `/v1/dead-letters`: the entries of the intake that could not be published.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::{Extension, Json};
use bytes::Bytes;
use fanfare_api::dead_letters as api;
use fanfare_broker::dead_letter::{DeadLetter, DeadLetters, Requeued};
use fanfare_broker::intake::channel_of;
use fanfare_protocol::Position;
use http::{HeaderMap, Method};

use super::app::App;
use super::letter;
use super::params::Params;
use super::problem::{Code, Problem};
use crate::address::ClientAddress;
use crate::memory::{Kind, Permit};
use crate::request_info::RequestInfo;

/// Maximum number of entries of one call.
const MAX_LIMIT: usize = 1000;
/// Default number of entries.
const DEFAULT_LIMIT: usize = 100;
/// Maximum bytes of entries of one call; a single entry may be larger.
const MAX_BYTES: usize = 1024 * 1024;
/// Copies of the entries while the response is built: as read, as values, and as text.
const COPIES: usize = 3;

/// `GET`: lists entries, without their fields.
///
/// # Errors
///
/// Fails if the bearer is not an admin, if the request is invalid, or if the broker is unavailable.
pub async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
    info: Option<Extension<RequestInfo>>,
) -> Result<Json<api::DeadLetterPage>, Problem> {
    let params = Params::parse(query.as_deref(), &["after", "limit"], &[])?;
    check_admin(&app, &headers, &params, address).await?;
    let limit = params.count("limit", MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let after = params.get("after").map_or(Ok(Position::ZERO), |text| id("after", text))?;
    let _room = reserve(info)?;
    let DeadLetters { letters, more } = match after.next() {
        Some(from) => app.broker.dead_letters(from, limit, MAX_BYTES).await?,
        None => DeadLetters::default(),
    };
    let next = letters.last().map_or(after, |last| last.id).to_string();
    Ok(Json(api::DeadLetterPage { dead_letters: letters.iter().map(summary).collect(), next, more }))
}

/// `GET`: returns one entry with its fields.
///
/// # Errors
///
/// Fails like [`list`], or if there is no such entry.
pub async fn show(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
    info: Option<Extension<RequestInfo>>,
) -> Result<Json<api::DeadLetter>, Problem> {
    let id = of_path(&app, path, query.as_deref(), (&headers, address)).await?;
    let _room = reserve(info)?;
    let found = app.broker.dead_letters(id, 1, MAX_BYTES).await?.letters.pop();
    let letter = found.filter(|letter| letter.id == id).ok_or_else(|| gone(id))?;
    let fields =
        letter.fields.iter().map(|(name, value)| api::Field { name: text(name), value: text(value) });
    Ok(Json(api::DeadLetter { fields: Some(fields.collect()), ..summary(&letter) }))
}

/// `DELETE`: removes one entry.
///
/// # Errors
///
/// Fails like [`show`].
pub async fn drop_one(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<api::Dropped>, Problem> {
    let id = of_path(&app, path, query.as_deref(), (&headers, address)).await?;
    letter::precondition(&Method::DELETE, &headers)?;
    if !app.broker.drop_dead(id).await? {
        return Err(gone(id));
    }
    Ok(Json(api::Dropped { id: id.to_string() }))
}

/// `POST`: moves one entry back to the intake.
///
/// # Errors
///
/// Fails like [`show`], or if the entry is not complete.
pub async fn requeue(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<api::Requeued>, Problem> {
    let id = of_path(&app, path, query.as_deref(), (&headers, address)).await?;
    letter::precondition(&Method::POST, &headers)?;
    match app.broker.requeue_dead(id).await? {
        Requeued::As(entry) => Ok(Json(api::Requeued { id: id.to_string(), entry: entry.to_string() })),
        Requeued::Gone => Err(gone(id)),
        Requeued::Incomplete => Err(Problem::new(
            Code::Incomplete,
            format!(
                "the entry {id} was truncated when it was moved to the dead-letter stream, so it cannot be \
                 published: drop it, and let its publisher repeat it"
            ),
        )),
    }
}

/// Returns the id in the path of a request, if its bearer is an admin.
async fn of_path(
    app: &App,
    path: Result<Path<String>, PathRejection>,
    query: Option<&str>,
    (headers, address): (&HeaderMap, ClientAddress),
) -> Result<Position, Problem> {
    let Path(text) = path?;
    let params = Params::parse(query, &[], &[])?;
    check_admin(app, headers, &params, address).await?;
    id("id", &text)
}

/// Refuses a bearer who is not an admin: entries may be of any channel, and have data.
async fn check_admin(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    address: ClientAddress,
) -> Result<(), Problem> {
    if app.bearer(headers, params, address).await?.grants.admin.is_admin() {
        return Ok(());
    }
    Err(Problem::no_grant("the dead-letter stream needs admin; no single right is enough"))
}

fn id(name: &str, text: &str) -> Result<Position, Problem> {
    text.parse().map_err(|error| Problem::bad_request(format!("{name}: {error}")))
}

fn gone(id: Position) -> Problem {
    Problem::new(Code::NotFound, format!("the dead-letter stream has no entry {id}"))
}

/// Reserves memory for the entries while the response is built; afterwards the response reserves its own size.
fn reserve(info: Option<Extension<RequestInfo>>) -> Result<Option<Permit>, Problem> {
    let room = info.map(|Extension(info)| info.account.reserve(Kind::Responses, COPIES * MAX_BYTES));
    Ok(room.transpose()?)
}

fn summary(letter: &DeadLetter) -> api::DeadLetter {
    api::DeadLetter {
        id: letter.id.to_string(),
        time: letter.id.ms,
        entry: letter.entry.clone(),
        reason: letter.reason.clone(),
        channel: channel_of(&letter.fields),
        bytes: letter.bytes(),
        complete: letter.is_complete,
        fields: None,
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
