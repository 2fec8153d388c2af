//! Bodies of requests, read within the memory budget.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use fanfare_config::bytes;
use fanfare_config::limits::BODY_COPIES;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http_body_util::BodyExt;

use super::app::App;
use super::problem::{Code, Problem};
use crate::memory::{self, Account, Permit};
use crate::pace::{MinRate, Pace, TooSlow};
use crate::request_info::RequestInfo;

/// Memory reserved for a body before it arrives, in bytes, since its declared length is not reliable.
const FIRST_ROOM: usize = 64 * 1024;

/// Reads a body of at most `limit` bytes, and reserves memory as it arrives. The permit is held for as long as the body is used.
///
/// # Errors
///
/// Fails if the body is too large, too slow, or does not arrive within `http.body_read_timeout`, or if there is no memory for it.
pub(super) async fn read(
    app: &App,
    Parts { headers, extensions, .. }: &Parts,
    body: &mut Body,
    limit: usize,
) -> Result<(Bytes, Permit), Problem> {
    let account = RequestInfo::of(extensions).map(|info| info.account.clone());
    let account = account.unwrap_or_else(|| app.memory.account(None));
    tokio::time::timeout(app.http.body_read_timeout, read_paced(app, headers, body, (&account, limit)))
        .await
        .map_err(|_| Problem::new(Code::RequestTimeout, "the body took too long to arrive"))?
}

async fn read_paced(
    app: &App,
    headers: &HeaderMap,
    body: &mut Body,
    (account, limit): (&Account, usize),
) -> Result<(Bytes, Permit), Problem> {
    let too_large = || Problem::new(Code::TooLarge, format!("the body has more than {limit} bytes"));
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut permit = account.permit(memory::Kind::Bodies);
    let mut pace = Pace::new(MinRate::new(bytes(app.http.min_rate), app.http.min_rate_window));
    let mut read = BytesMut::with_capacity(length.unwrap_or_default().min(FIRST_ROOM));
    while let Some(frame) = pace.within(body.frame()).await.map_err(|TooSlow| slow(app))? {
        let frame = frame.map_err(|_| Problem::bad_request("the body ended early"))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > limit {
            return Err(too_large());
        }
        permit.grow(BODY_COPIES * data.len())?;
        pace.moved(data.len());
        if read.capacity() < read.len() + data.len() {
            // Reserve the declared length: memory that is not written to costs nothing, and growing a buffer causes
            // fragmentation.
            read.reserve(length.unwrap_or_default().saturating_sub(read.len()).max(data.len()));
        }
        read.extend_from_slice(&data);
    }
    Ok((read.freeze(), permit))
}

fn slow(app: &App) -> Problem {
    let (rate, period) = (app.http.min_rate, app.http.min_rate_window);
    let period = humantime::format_duration(period);
    let detail = format!("the body arrived slower than {rate} per second over {period} (http.min_rate)");
    Problem::new(Code::RequestTimeout, detail)
}
