//! `DELETE`: deletes a stream.

use std::sync::Arc;

use axum::extract::{Request, State};
use fanfare_broker::forks;
use fanfare_broker::stream_store::{Found, Removed};
use http::StatusCode;

use super::refusal::Refusal;
use super::target::{Target, Use};
use crate::http::app::App;

/// Handles `DELETE`: 204.
///
/// # Errors
///
/// Fails if there is no such stream.
pub async fn remove(State(app): State<Arc<App>>, request: Request) -> Result<StatusCode, Refusal> {
    let (parts, _) = request.into_parts();
    let target = Target::of(&app, &parts, Use::Write).await?;
    match app.broker.remove_stream(&target.name).await? {
        Found::Missing => Err(Refusal::missing()),
        Found::Deleted if forks::prune(&*app.broker, &target.name).await? => Err(Refusal::missing()),
        Found::Deleted => Err(Refusal::deleted()),
        Found::Here(Removed::Kept) => {
            // Forks that have expired by themselves do not hold the name.
            forks::prune(&*app.broker, &target.name).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        Found::Here(Removed::Gone(origin)) => {
            if let Some(origin) = origin {
                forks::release(&*app.broker, origin, target.name).await?;
            }
            Ok(StatusCode::NO_CONTENT)
        }
    }
}
