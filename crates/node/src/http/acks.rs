//! `/v1/ack`: what clients have acknowledged.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use fanfare_api::ack::{Ack as Body, Acked, AckedCursor};
use fanfare_broker::ack_store::{AckedPosition, Receipt};
use fanfare_protocol::json::{self, Items};
use fanfare_protocol::reader::{DeviceName, Reader};
use fanfare_protocol::{Channel, Cursor, Grants, Position, SessionId, User};
use futures_util::future::try_join_all;
use http::{HeaderMap, Method};

use super::app::App;
use super::params::Params;
use super::problem::{Code, Problem};
use super::{body, json_body, letter};
use crate::address::ClientAddress;
use crate::auth::Bearer;
use crate::rates::{Caller, Kind};

/// Maximum size of a body, in bytes: the longest cursor and more.
const MAX_BYTES: usize = 16 * 1024;
/// Maximum number of acknowledgements of one request.
const MAX_ITEMS: usize = 100;

/// An acknowledgement of a user.
#[derive(Debug, PartialEq)]
struct Ack {
    reader: Reader,
    positions: Vec<AckedPosition>,
    /// The event, if the acknowledgement names one.
    event: Option<(Channel, Position)>,
}

/// Handles `POST`: acknowledges one cursor or event, or an array of them.
///
/// # Errors
///
/// Fails if the body is invalid, in which case nothing is acknowledged, or if the broker is unavailable.
pub async fn acknowledge(State(app): State<Arc<App>>, request: Request) -> Result<Json<Acked>, Problem> {
    let (parts, mut body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), &[], &[])?;
    let address = ClientAddress::of(&parts.extensions);
    let (user, grants) = user(app.bearer(&parts.headers, &params, address).await?)?;
    letter::precondition(&parts.method, &parts.headers)?;
    letter::content_coding(&parts.headers)?;
    json_body::check_media_type(&parts.headers)?;
    let (bytes, _permit) = body::read(&app, &parts, &mut body, MAX_BYTES).await?;
    let acks = read(&bytes, (&user, &grants))?;
    // The request itself is charged already; the next ones wait until the others are paid for.
    let others = i64::try_from(acks.len()).unwrap_or(i64::MAX) - 1;
    app.rates.settle(Kind::Requests, Caller { user: Some(&user), address }, others);
    if app.ack.receipts > 0 {
        let receipts = acks.iter().filter_map(|ack| receipt(&user, ack)).collect::<Vec<_>>();
        if !receipts.is_empty() {
            // First, so that an acknowledgement that is stored has its receipt: a repeated call writes it again.
            app.broker.report_receipts(&receipts).await?;
        }
    }
    let stored = acks.iter().map(|ack| app.broker.acknowledge(&user, &ack.reader, &ack.positions));
    let moved = try_join_all(stored).await?;
    Ok(Json(Acked { moved: moved.into_iter().sum() }))
}

/// Handles `GET`: returns the acknowledged cursor of a device or a session.
///
/// # Errors
///
/// Fails if the parameters are invalid, or if the broker is unavailable.
pub async fn acknowledged(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    address: ClientAddress,
) -> Result<Json<AckedCursor>, Problem> {
    let params = Params::parse(query.as_deref(), &["device", "session"], &[])?;
    let (user, _) = user(app.bearer(&headers, &params, address).await?)?;
    letter::precondition(&Method::GET, &headers)?;
    let reader = one_reader(params.get("device"), params.get("session"))?;
    let positions = app.broker.acknowledged(&user, &reader).await?;
    let cursor = (!positions.is_empty()).then(|| Cursor::Many(positions).to_string());
    Ok(Json(AckedCursor { cursor }))
}

fn user(bearer: Bearer) -> Result<(User, Grants), Problem> {
    let user =
        bearer.user.ok_or_else(|| Problem::bad_request("a client without a user acknowledges nothing"))?;
    Ok((user, bearer.grants))
}

/// Returns the reader that either `device` or `session` names.
fn one_reader(device: Option<&str>, session: Option<&str>) -> Result<Reader, Problem> {
    if device.is_some() && session.is_some() {
        return Err(Problem::bad_request("name either the device or the session, not both"));
    }
    reader(device, session)
}

/// Returns the reader that `device` or `session` names. A device takes precedence, since a stream may have both.
pub(super) fn reader(device: Option<&str>, session: Option<&str>) -> Result<Reader, Problem> {
    if let Some(device) = device {
        let name: DeviceName =
            device.parse().map_err(|error| Problem::bad_request(format!("device: {error}")))?;
        return Ok(Reader::Device(name));
    }
    let session = session.ok_or_else(|| {
        Problem::bad_request(
            "name the device or the session whose acknowledged cursor is meant: device or session",
        )
    })?;
    let session: SessionId =
        session.parse().map_err(|error| Problem::bad_request(format!("session: {error}")))?;
    Ok(Reader::Session(session))
}

/// Parses a body: one acknowledgement, or an array.
fn read(bytes: &[u8], caller: (&User, &Grants)) -> Result<Vec<Ack>, Problem> {
    let bad = |detail: String| Problem::new(Code::BadJson, detail);
    let text = json::text(bytes).map_err(|error| bad(format!("the body {error}")))?;
    if !text.trim_start().starts_with('[') {
        return Ok(vec![parse(text).and_then(|body| ack(&body, caller))?]);
    }
    let Items { kept, count } = Items::read(text, MAX_ITEMS).map_err(|error| bad(json::reason(&error)))?;
    if count > MAX_ITEMS {
        let detail = format!("the body has {count} acknowledgements; at most {MAX_ITEMS} are allowed");
        return Err(Problem::new(Code::TooLarge, detail));
    }
    let item = |(index, item): (usize, &serde_json::value::RawValue)| {
        parse(item.get()).and_then(|body| ack(&body, caller)).map_err(|problem| problem.of_item(index))
    };
    kept.into_iter().enumerate().map(item).collect()
}

fn parse(text: &str) -> Result<Body, Problem> {
    json::object(text).map_err(|_| Problem::new(Code::BadJson, json::fault::<Body>(text)))
}

/// Checks an acknowledgement.
fn ack(body: &Body, (user, grants): (&User, &Grants)) -> Result<Ack, Problem> {
    let reader = one_reader(body.device.as_deref(), body.session.as_deref())?;
    match (&body.cursor, &body.channel, &body.id) {
        (Some(cursor), None, None) => match Cursor::parse(cursor)? {
            Cursor::Many(positions) => Ok(Ack { reader, positions, event: None }),
            Cursor::One(_) => Err(Problem::new(
                Code::BadCursor,
                "cursor is the position in one channel: send it as id, with its channel",
            )),
        },
        (None, Some(channel), Some(id)) => {
            let channel = Channel::new(channel)?;
            if !grants.may_subscribe(Some(user), &channel) {
                return Err(Problem::no_grant(format!("the token does not grant subscribe on {channel}")));
            }
            let position: Position =
                id.parse().map_err(|error| Problem::new(Code::BadCursor, format!("id: {error}")))?;
            let positions = vec![(channel.tag(), position)];
            Ok(Ack { reader, positions, event: Some((channel, position)) })
        }
        _ => Err(Problem::bad_request("an acknowledgement has either cursor, or channel and id")),
    }
}

fn receipt(user: &User, ack: &Ack) -> Option<Receipt> {
    let (channel, position) = ack.event.clone()?;
    Some(Receipt { user: user.clone(), reader: ack.reader.clone(), channel, position })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acks(json: &str) -> Result<Vec<Ack>, (Code, String)> {
        let grants: Grants = serde_json::from_str(r#"{"subscribe":["room:*"]}"#).unwrap();
        let user = User::new("7").unwrap();
        read(json.as_bytes(), (&user, &grants)).map_err(|problem| (problem.code, problem.detail))
    }

    #[test]
    fn an_acknowledgement_is_a_cursor_or_an_event_of_a_device_or_a_session() {
        let room = Channel::new("room:1").unwrap();
        let positions = vec![(room.tag(), Position::new(17, 3))];
        let cursor = Cursor::Many(positions.clone()).to_string();
        let device = Reader::Device("phone".parse().unwrap());
        let event = Some((room, Position::new(17, 3)));
        let of = |event| vec![Ack { reader: device.clone(), positions: positions.clone(), event }];
        assert_eq!(acks(&format!(r#"{{"device":"phone","cursor":"{cursor}"}}"#)), Ok(of(None)));
        let json = r#"{"device":"phone","channel":"room:1","id":"17-3"}"#;
        assert_eq!(acks(json), Ok(of(event.clone())));
        assert_eq!(acks(&format!(" [{json}]")), Ok(of(event)));
        assert_eq!(acks("[]"), Ok(Vec::new()));
        let own = r#"{"session":"0b5c0f9e-3c58-4f0e-9c43-0b6a3f2f8f11","channel":"user:7","id":"1-1"}"#;
        assert!(acks(own).is_ok(), "the user's own channel");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_item() {
        let good = r#"{"device":"a","channel":"room:1","id":"1-1"}"#;
        for (json, code, word) in [
            ("", Code::BadJson, ""),
            ("[", Code::BadJson, ""),
            (r#"["device"]"#, Code::BadJson, "item 0"),
            (r#"{"cursor":"x"}"#, Code::BadRequest, "device or session"),
            (r#"{"device":"a b","cursor":"x"}"#, Code::BadRequest, "device: "),
            (r#"{"session":"x","cursor":"x"}"#, Code::BadRequest, "session: "),
            (r#"{"device":"a","session":"b","cursor":"x"}"#, Code::BadRequest, "not both"),
            (r#"{"device":"a"}"#, Code::BadRequest, "either cursor"),
            (
                r#"{"device":"a","cursor":"x","channel":"room:1","id":"1-1"}"#,
                Code::BadRequest,
                "either cursor",
            ),
            (r#"{"device":"a","channel":"room:1"}"#, Code::BadRequest, "either cursor"),
            (r#"{"device":"a","cursor":"17-3"}"#, Code::BadCursor, "with its channel"),
            (r#"{"device":"a","cursor":"latest"}"#, Code::BadCursor, "latest"),
            (r#"{"device":"a","channel":"room:1","id":"x"}"#, Code::BadCursor, "id: "),
            (r#"{"device":"a","channel":"a b","id":"1-1"}"#, Code::BadChannel, "channel name"),
            (r#"{"device":"a","channel":"other","id":"1-1"}"#, Code::NoGrant, "other"),
            (r#"{"device":"a","channel":"user:8","id":"1-1"}"#, Code::NoGrant, "user:8"),
            (r#"{"device":"a","id":1}"#, Code::BadJson, "id: "),
            (r#"{"device":"a","x":1}"#, Code::BadJson, "unknown field"),
            (&format!("[{good},{{}}]"), Code::BadRequest, "item 1: "),
            (&format!("[{}]", vec![good; 101].join(",")), Code::TooLarge, "101"),
        ] {
            let (found, detail) = acks(json).expect_err(json);
            assert!(found == code && detail.contains(word), "{json}: {found:?} {detail}");
        }
    }
}
