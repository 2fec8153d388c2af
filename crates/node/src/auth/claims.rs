//! The claims of a token (RFC 7519, section 4), each read by itself, so that an error names the claim.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_protocol::json::{self, ByName};
use fanfare_protocol::{Grants, User};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The last second of the year 9999. A later time in a token means never.
const LATEST_EXPIRY: f64 = 253_402_300_799.0;

/// Claims of a token. Each may have any value.
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: Option<Box<RawValue>>,
    exp: Option<Box<RawValue>>,
    nbf: Option<Box<RawValue>>,
    iat: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    fanfare: Option<Box<RawValue>>,
}

impl Claims {
    /// Returns the user that `sub` names.
    pub(super) fn user(&self) -> Result<User, String> {
        let sub = self.sub.as_deref().ok_or("it has no sub, which names the user")?;
        let sub = subject(sub).ok_or("its sub is neither text nor a whole number")?;
        User::new(&sub).map_err(|error| format!("its sub is not a user id: {error}"))
    }

    /// Returns the expiry.
    pub(super) fn expiry(&self) -> Result<SystemTime, String> {
        moment("exp", self.exp.as_deref())?.ok_or_else(|| "it has no exp; tokens must expire".to_owned())
    }

    /// Returns when the token becomes valid, if it says so.
    pub(super) fn begin(&self) -> Result<Option<SystemTime>, String> {
        moment("nbf", self.nbf.as_deref())
    }

    /// Returns when the token was issued, if it says so.
    pub(super) fn issued(&self) -> Result<Option<SystemTime>, String> {
        moment("iat", self.iat.as_deref())
    }

    /// Returns the permissions; none without the claim.
    pub(super) fn grants(&self) -> Result<Grants, String> {
        let Some(fanfare) = &self.fanfare else { return Ok(Grants::default()) };
        json::object(fanfare.get())
            .map_err(|_| format!("its claim fanfare is invalid: {}", json::fault::<Grants>(fanfare.get())))
    }
}

/// Returns why the library could not read a token's claims. It reads some of them, too, and does not say which it fails
/// at.
pub(super) fn fault(token: &str, error: &serde_json::Error) -> String {
    let reason = || format!("its claims are invalid: {}", json::reason(error));
    let part = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let Some(ByName(claims)) = part.and_then(|part| serde_json::from_slice::<ByName<Claims>>(&part).ok())
    else {
        return reason();
    };
    let checked = claims.user().map(drop).and_then(|()| claims.expiry().map(drop));
    let checked = checked.and_then(|()| claims.begin().map(drop)).and_then(|()| claims.issued().map(drop));
    checked.err().unwrap_or_else(reason)
}

/// Keeps `null`, which is not an absent claim.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(value).map(Some)
}

/// Returns the user id of `sub`. By RFC 7519, section 4.1.2, it is text; many issuers write a number, which is
/// converted to its digits.
fn subject(sub: &RawValue) -> Option<String> {
    let text = sub.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.to_owned());
    }
    serde_json::from_str(text).ok()
}

/// Returns the time of a claim: seconds since 1970, which may have a fraction (RFC 7519, section 2).
fn moment(name: &str, claim: Option<&RawValue>) -> Result<Option<SystemTime>, String> {
    let Some(claim) = claim else { return Ok(None) };
    let moment = serde_json::from_str::<f64>(claim.get()).ok().and_then(|seconds| {
        let duration = Duration::try_from_secs_f64(seconds.min(LATEST_EXPIRY)).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(duration)
    });
    moment.map(Some).ok_or_else(|| format!("its {name} is not a time: a number of seconds since 1970"))
}
