//! `POST /v1/revocations`: revokes tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Request, State};
use fanfare_api::revocations::Revocation as Body;
use fanfare_auth::revocation::token_id;
use fanfare_protocol::User;
use fanfare_protocol::revocation::Revocation;
use fanfare_protocol::rights::Right;

use super::app::App;
use super::params::Params;
use super::problem::Problem;
use super::{json_body, letter};
use crate::address::ClientAddress;
use crate::audit::{Effect, trail};

/// Handles `POST`.
///
/// # Errors
///
/// Fails if the bearer is not an admin, the body is invalid, there are too many revocations, or the broker is
/// unavailable.
pub async fn revoke(State(app): State<Arc<App>>, request: Request) -> Result<Json<Body>, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::parse(parts.uri.query(), &[], &[])?;
    let address = ClientAddress::of(&parts.extensions);
    if !app.bearer(&parts.headers, &params, address).await?.grants.admin.has(Right::Disconnect) {
        return Err(Problem::no_grant("revoking tokens needs admin, or its right disconnect"));
    }
    letter::precondition(&parts.method, &parts.headers)?;
    let mut body: Body = json_body::read(&app, &parts, body).await?;
    let revocation = revocation(&mut body, SystemTime::now())?;
    let effect = effect(&revocation);
    let revoked = app.revocations.store(revocation).await?;
    app.revocations.spread(&revoked).await;
    trail::note_effect(effect);
    Ok(Json(body))
}

fn effect(revocation: &Revocation) -> Effect {
    match revocation {
        Revocation::Token(id) => Effect { token: Some(*id), ..Effect::default() },
        Revocation::User { user, before } => {
            Effect { user: Some(user.clone()), before: Some(before / 1000), ..Effect::default() }
        }
    }
}

/// Returns what a body revokes, and completes the body.
fn revocation(body: &mut Body, now: SystemTime) -> Result<Revocation, Problem> {
    match body {
        Body { jti: Some(jti), user: None, before: None } if !jti.is_empty() => {
            Ok(Revocation::Token(token_id(jti)))
        }
        Body { jti: None, user: Some(user), before } => {
            let user = User::new(user).map_err(|error| Problem::bad_request(format!("user: {error}")))?;
            let latest = end_of_second(now);
            let before = *before.get_or_insert(latest);
            if before > latest {
                return Err(Problem::bad_request(
                    "before: the time is in the future; it is in seconds since 1970",
                ));
            }
            Ok(of_user(user, before))
        }
        _ => Err(Problem::bad_request("the body needs either jti, or user with an optional before")),
    }
}

/// Revokes all tokens of a user that were issued until now.
pub(super) fn of_user_until(user: User, now: SystemTime) -> Revocation {
    of_user(user, end_of_second(now))
}

fn of_user(user: User, before: u64) -> Revocation {
    Revocation::User { user, before: before.saturating_mul(1000) }
}

/// Returns the end of a time's second, in seconds since 1970. An `iat` is usually in whole seconds, so that of a token issued
/// now is before this.
pub(super) fn end_of_second(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0, Duration::as_secs) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_revokes_one_token_or_those_of_a_user() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(5700);
        let of = |json: &str| {
            let mut body: Body = serde_json::from_str(json).unwrap();
            revocation(&mut body, now).map(|revocation| (revocation, body.before)).map_err(|p| p.detail)
        };
        let user = |before| Revocation::User { user: User::new("7").unwrap(), before };
        assert_eq!(of(r#"{"jti":"x"}"#), Ok((Revocation::Token(token_id("x")), None)));
        assert_eq!(of(r#"{"user":"7"}"#), Ok((user(6000), Some(6))));
        assert_eq!(of(r#"{"user":"7","before":5}"#), Ok((user(5000), Some(5))));
        for (bad, word) in [
            ("{}", "either jti"),
            (r#"{"jti":""}"#, "either jti"),
            (r#"{"jti":"x","user":"7"}"#, "either jti"),
            (r#"{"jti":"x","before":5}"#, "either jti"),
            (r#"{"before":5}"#, "either jti"),
            (r#"{"user":"a b"}"#, "user: "),
            (r#"{"user":"7","before":7}"#, "future"),
            (r#"{"user":"7","before":5700}"#, "seconds since 1970"),
        ] {
            assert!(of(bad).unwrap_err().contains(word), "{bad}");
        }
    }
}
