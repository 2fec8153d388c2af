//! `HEAD`: what a stream is, without its bytes. Does not let the stream live on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use fanfare_broker::forks;
use fanfare_broker::stream_store::{Found, ReadRange, StreamInfo};
use fanfare_protocol::finite::Life;
use http::header::CONTENT_TYPE;

use super::fields;
use super::refusal::Refusal;
use super::target::{Target, Use};
use crate::http::app::App;

/// Handles `HEAD`.
///
/// # Errors
///
/// Fails if there is no such stream.
pub async fn inspect(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let target = Target::of(&app, &parts, Use::Read).await?;
    let info = match app.broker.read_stream(&target.name, ReadRange::INFO).await? {
        Found::Here(page) => {
            if page.info.lapsed {
                app.finite.metrics.lapses.inc();
            }
            page.info
        }
        Found::Missing => return Err(Refusal::missing()),
        Found::Deleted if forks::prune(&*app.broker, &target.name).await? => return Err(Refusal::missing()),
        Found::Deleted => return Err(Refusal::deleted()),
    };
    let StreamInfo { generations, tail, media_type, life, end, lease, .. } = &info;
    let mut response = Body::empty().into_response();
    fields::set(&mut response, CONTENT_TYPE, media_type.as_str());
    fields::set_next(&mut response, generations.mint(*tail));
    match life {
        Life::Unset => {}
        Life::Ttl(seconds) => fields::set(&mut response, fields::TTL, seconds.to_string()),
        Life::Until(expiry) => fields::set(&mut response, fields::EXPIRES_AT, &expiry.text),
    }
    fields::set_lease(&mut response, *lease);
    if let Some(end) = end {
        fields::set_end(&mut response, end);
    }
    fields::set_cache(&mut response, "no-store");
    Ok(response)
}
