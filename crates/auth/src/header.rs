//! The header of a token (RFC 7515, section 4), read before the signature is verified.
//!
//! Keys that a header carries or names (`jwk`, `jku`, `x5c`, `x5u`) are ignored: the bearer chose them.

use fanfare_protocol::json::{self, ByName};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::algorithm::Algorithm;

/// Values of `typ` that are accepted unless the settings require one, in lower case and without `application/`: a
/// generic JWT, or an access token (RFC 9068).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];
/// Maximum length of a `kid`, in bytes.
const MAX_ID_BYTES: usize = 1024;

/// The checked header of a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// `alg`.
    pub(crate) algorithm: Algorithm,
    /// `kid`.
    pub(crate) key_id: Option<String>,
    /// `typ`, in lower case and without `application/`.
    typ: Option<String>,
}

/// The parameters that are used.
#[derive(Deserialize)]
struct Parameters {
    alg: Option<Value>,
    kid: Option<Value>,
    typ: Option<Value>,
    /// Whether the header has `crit`, with any value, `null` included.
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// Fails with the reason, which is about the token and does not help to forge one.
    pub(crate) fn read(text: &[u8]) -> Result<Self, String> {
        // The parser does not check texts that it skips.
        let text = std::str::from_utf8(text).map_err(|_| "its header is invalid: it is not UTF-8")?;
        let ByName(Parameters { alg, kid, typ, crit }) = serde_json::from_str(text)
            .map_err(|error| format!("its header is invalid: {}", json::reason(&error)))?;
        let algorithm = match &alg {
            Some(Value::String(name)) => Algorithm::named(name),
            _ => None,
        };
        let algorithm = algorithm
            .ok_or_else(|| format!("its algorithm (alg) is not one of {}", crate::Algorithms::ALL))?;
        // RFC 7515, section 4.1.11: a recipient must refuse a token with an extension that it does not support, and a
        // `crit` that is not a list of names.
        if crit {
            return Err("its header has crit, and no extension in it is supported".to_owned());
        }
        let key_id = match kid {
            None => None,
            Some(Value::String(id)) if id.len() <= MAX_ID_BYTES => Some(id),
            Some(_) => return Err(format!("its header's kid is not a text of up to {MAX_ID_BYTES} bytes")),
        };
        let typ = match typ {
            None => None,
            Some(Value::String(typ)) => Some(media_type(&typ)),
            Some(_) => return Err("its header's typ is not a text".to_owned()),
        };
        Ok(Self { algorithm, key_id, typ })
    }

    /// Checks `typ` (RFC 8725, section 3.11): a token issued for another purpose is not an access token.
    ///
    /// # Errors
    ///
    /// Fails with the reason if `typ` is not the required one, or is that of another kind of token.
    pub(crate) fn check_type(&self, required: Option<&str>) -> Result<(), String> {
        match (required, &self.typ) {
            (Some(required), typ) if typ.as_deref() == Some(media_type(required).as_str()) => Ok(()),
            (Some(required), _) => Err(format!("its header's typ is not {required}")),
            (None, Some(typ)) if !TYPES.contains(&typ.as_str()) => {
                Err("its header's typ is neither JWT nor at+jwt".to_owned())
            }
            (None, _) => Ok(()),
        }
    }
}

fn is_present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Returns the form of a `typ` that is compared. Media types are case-insensitive, and `application/` may be left out
/// (RFC 7515, section 4.1.9).
fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").map_or(typ.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_named() {
        let read = |header: &str| Header::read(header.as_bytes());
        let header = read(r#"{"alg":"HS256","typ":null,"kid":"x","jku":"https://x"}"#).unwrap();
        assert_eq!((header.algorithm, header.key_id.as_deref()), (Algorithm::HS256, Some("x")));
        for (header, word) in [
            (r#"{"alg":"none"}"#, "algorithm"),
            (r#"{"alg":"hs256"}"#, "algorithm"),
            (r#"{"alg":null}"#, "algorithm"),
            (r#"{"alg":["HS256"]}"#, "algorithm"),
            (r#"{"typ":"JWT"}"#, "algorithm"),
            (r#"{"alg":"none","alg":"HS256"}"#, "duplicate field `alg`"),
            (r#"{"alg":"HS256","kid":"a","kid":"b"}"#, "duplicate field `kid`"),
            (r#"{"alg":"HS256","crit":null}"#, "crit"),
            (r#"{"alg":"HS256","crit":[]}"#, "crit"),
            (r#"{"alg":"HS256","crit":"exp"}"#, "crit"),
            (r#"{"alg":"HS256","typ":1}"#, "typ is not a text"),
            (r#"{"alg":"HS256","kid":1}"#, "kid is not a text"),
            (r#"["HS256"]"#, "header is invalid: invalid type: sequence"),
            ("", "header is invalid"),
        ] {
            let reason = read(header).expect_err(header);
            assert!(reason.contains(word) && !reason.contains("column"), "{header}: {reason}");
        }
    }

    #[test]
    fn a_header_is_utf_8_in_ignored_parameters_too() {
        let reason = Header::read(b"{\"alg\":\"HS256\",\"x\":[\"\xff\"]}").unwrap_err();
        assert_eq!(reason, "its header is invalid: it is not UTF-8");
    }

    #[test]
    fn a_type_is_compared_as_a_media_type() {
        let of = |typ: &str| Header::read(format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#).as_bytes()).unwrap();
        for typ in ["JWT", "jwt", "at+jwt", "application/AT+JWT"] {
            assert_eq!(of(typ).check_type(None), Ok(()), "{typ}");
        }
        for typ in ["secevent+jwt", "JOSE", "", "application/", "application/application/jwt"] {
            assert!(of(typ).check_type(None).is_err(), "{typ}");
        }
        assert_eq!(of("Application/Secevent+JWT").check_type(Some("secevent+jwt")), Ok(()));
        assert_eq!(of("at+jwt").check_type(Some("application/at+jwt")), Ok(()));
        assert!(of("JWT").check_type(Some("at+jwt")).unwrap_err().contains("not at+jwt"));
        let untyped = Header::read(br#"{"alg":"HS256"}"#).unwrap();
        assert!(untyped.check_type(None).is_ok() && untyped.check_type(Some("at+jwt")).is_err());
    }
}
