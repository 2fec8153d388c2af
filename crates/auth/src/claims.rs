//! The claims of a token (RFC 7519, section 4), each read by itself, so that an error names the claim.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use fanfare_protocol::json;
use fanfare_protocol::revocation::TokenStamp;
use fanfare_protocol::{Grants, User};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::claim_name::ClaimName;
use crate::revocation::token_id;

/// The last second of the year 9999. A later time in a token means never.
const LATEST_EXPIRY: f64 = 253_402_300_799.0;

/// The members of an object, each with any value. Not two of one name (RFC 7519, section 4).
#[derive(Debug)]
pub(crate) struct Claims<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Claims<'a> {
    /// Reads the claims of a token.
    ///
    /// # Errors
    ///
    /// Fails with the reason if they are not an object, or if two have the same name.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(text)
            .map_err(|error| format!("its claims are invalid: {}", json::reason(&error)))
    }

    /// Returns a claim; `None` if it is absent or null.
    pub(crate) fn find(&self, name: &ClaimName) -> Option<&'a RawValue> {
        self.find_any(name).filter(|value| value.get() != "null")
    }

    /// Returns a claim, which may be null.
    fn find_any(&self, name: &ClaimName) -> Option<&'a RawValue> {
        if let Some(&value) = self.0.get(name.as_str()) {
            return Some(value);
        }
        let mut steps = name.steps();
        let mut value = *self.0.get(&*steps.next()?)?;
        for step in steps {
            // A value on the path that is not an object has no members.
            let Claims(members) = serde_json::from_str(value.get()).ok()?;
            value = *members.get(&*step)?;
        }
        Some(value)
    }

    /// Returns a registered claim; `None` if it is absent or null.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|value| value.get() != "null")
    }

    /// Returns whether `iss` is exactly this text.
    pub(crate) fn is_of(&self, issuer: &str) -> bool {
        self.get("iss").and_then(text).is_some_and(|iss| iss == issuer)
    }

    /// Returns `aud`: one text or several.
    ///
    /// # Errors
    ///
    /// Fails if it is absent or of another form.
    pub(crate) fn audience(&self) -> Result<Vec<String>, String> {
        let aud = self.get("aud").ok_or("it has no aud")?;
        if let Some(one) = text(aud) {
            return Ok(vec![one]);
        }
        serde_json::from_str(aud.get())
            .map_err(|_| "its aud is neither a text nor a list of texts".to_owned())
    }

    /// Returns the user that a claim names. By RFC 7519, section 4.1.2, `sub` is a text; many issuers write an integer,
    /// which is converted to its digits.
    ///
    /// # Errors
    ///
    /// Fails if the claim is absent or not a user id.
    pub(crate) fn user(&self, name: &ClaimName) -> Result<User, String> {
        let value = self.find(name).ok_or_else(|| format!("it has no {name}, which names the user"))?;
        let id = scalar(value).ok_or_else(|| format!("its {name} is neither text nor a whole number"))?;
        User::new(&id).map_err(|error| format!("its {name} is not a user id: {error}"))
    }

    /// Returns the expiry.
    pub(crate) fn expiry(&self) -> Result<SystemTime, String> {
        self.moment("exp")?.ok_or_else(|| "it has no exp; tokens must expire".to_owned())
    }

    /// Returns when the token becomes valid, if it says so.
    pub(crate) fn begin(&self) -> Result<Option<SystemTime>, String> {
        self.moment("nbf")
    }

    /// Returns when the token was issued, if it says so.
    pub(crate) fn issued(&self) -> Result<Option<SystemTime>, String> {
        self.moment("iat")
    }

    /// Returns the part by which the token can be revoked: its `jti` and `iat`.
    pub(crate) fn stamp(&self) -> Result<TokenStamp, String> {
        let issued = self.issued()?.and_then(|issued| issued.duration_since(SystemTime::UNIX_EPOCH).ok());
        Ok(TokenStamp {
            id: self.get("jti").and_then(scalar).map(|jti| token_id(&jti)),
            issued: issued.map_or(0, |issued| u64::try_from(issued.as_millis()).unwrap_or(u64::MAX)),
        })
    }

    /// Returns the permissions in a claim; none without the claim. Some issuers can only write texts: the claim may be
    /// the object's JSON as a text.
    ///
    /// # Errors
    ///
    /// Fails if the claim is not an object with grants.
    pub(crate) fn grants(&self, name: &ClaimName) -> Result<Grants, String> {
        let Some(value) = self.find_any(name) else { return Ok(Grants::default()) };
        let inner = text(value);
        let object = inner.as_deref().unwrap_or_else(|| value.get());
        json::object(object)
            .map_err(|_| format!("its claim {name} is invalid: {}", json::fault::<Grants>(object)))
    }

    /// Returns the time of a claim: seconds since 1970, which may have a fraction (RFC 7519, section 2).
    fn moment(&self, name: &str) -> Result<Option<SystemTime>, String> {
        let Some(claim) = self.get(name) else { return Ok(None) };
        let moment = serde_json::from_str::<f64>(claim.get()).ok().and_then(|seconds| {
            let duration = Duration::try_from_secs_f64(seconds.min(LATEST_EXPIRY)).ok()?;
            SystemTime::UNIX_EPOCH.checked_add(duration)
        });
        moment.map(Some).ok_or_else(|| format!("its {name} is not a time: a number of seconds since 1970"))
    }
}

/// Returns the text of a value; `None` if it is not a text.
pub(crate) fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Returns a text, or the digits of an integer; `None` for other values.
pub(crate) fn scalar(value: &RawValue) -> Option<String> {
    let digits = value.get().strip_prefix('-').unwrap_or(value.get());
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.get().to_owned());
    }
    text(value)
}

impl<'de> Deserialize<'de> for Claims<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Members {
    type Value = Claims<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims<'de>, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(Name(name)) = map.next_key()? {
            if members.contains_key(&name) {
                return Err(de::Error::custom(format_args!("duplicate field `{}`", name.escape_debug())));
            }
            members.insert(name, map.next_value()?);
        }
        Ok(Claims(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ClaimName {
        ClaimName::new(name).unwrap()
    }

    #[test]
    fn a_claim_of_the_whole_name_comes_before_a_path() {
        let claims =
            Claims::read(br#"{"a":{"b":"path","/x":"odd"},"/a/b":"whole","n":null,"t":"x"}"#).unwrap();
        let find = |path: &str| claims.find(&name(path)).and_then(text);
        assert_eq!(find("/a/b").as_deref(), Some("whole"));
        assert_eq!(find("/a/~1x").as_deref(), Some("odd"));
        assert_eq!(find("/t").as_deref(), Some("x"));
        for missing in ["a.b", "/a/c", "/t/x", "/n", "n", "/a/b/c", "//a"] {
            assert_eq!(find(missing), None, "{missing}");
        }
    }

    #[test]
    fn a_name_counts_once() {
        for twice in [r#"{"sub":"7","sub":"8"}"#, r#"{"sub":"7","\u0073ub":"8"}"#] {
            assert!(Claims::read(twice.as_bytes()).unwrap_err().contains("duplicate field `sub`"), "{twice}");
        }
        assert!(Claims::read(b"[]").unwrap_err().contains("invalid type: sequence, expected an object"));
        assert!(Claims::read(b"{} {}").is_err());
        // A twice named member below is not on any path.
        let claims = Claims::read(br#"{"a":{"b":1,"b":2}}"#).unwrap();
        assert!(claims.find(&name("/a/b")).is_none());
    }

    #[test]
    fn grants_may_be_an_object_or_its_text() {
        let grants = |json: &str| Claims::read(json.as_bytes()).unwrap().grants(&name("g"));
        assert!(grants(r#"{"g":{"admin":true}}"#).unwrap().admin.is_admin());
        assert!(grants(r#"{"g":"{\"admin\":true}"}"#).unwrap().admin.is_admin());
        assert_eq!(grants("{}").unwrap(), Grants::default());
        for bad in [r#"{"g":null}"#, r#"{"g":""}"#, r#"{"g":"x"}"#, r#"{"g":[]}"#, r#"{"g":"[[],[],true]"}"#]
        {
            assert!(grants(bad).unwrap_err().contains("its claim g is invalid"), "{bad}");
        }
    }
}
