//! The header of a token (RFC 7515, section 4), read before the signature is verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_protocol::json::{self, ByName};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Accepted values of `typ`, in lower case and without `application/`: a generic JWT, or an access token (RFC 9068).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];
/// The accepted value of `alg`, which is case-sensitive.
const ALGORITHM: &str = "HS256";
/// The reason for a text of another form.
const NOT_A_JWT: &str = "it is not a JWT";

/// The parameters that are checked here. The library checks the form of the others.
#[derive(Deserialize)]
struct Parameters {
    alg: Option<Value>,
    typ: Option<Value>,
    /// Whether the header has `crit`, with any value, `null` included.
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

/// Checks a token's header.
///
/// # Errors
///
/// Fails with the reason, which is about the token and does not help to forge one.
pub(super) fn check(token: &str) -> Result<(), String> {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NOT_A_JWT.to_owned());
    };
    let text = URL_SAFE_NO_PAD.decode(header).map_err(|_| NOT_A_JWT)?;
    let ByName(Parameters { alg, typ, crit }) = serde_json::from_slice(&text)
        .map_err(|error| format!("its header is invalid: {}", json::reason(&error)))?;
    if alg.as_ref().and_then(Value::as_str) != Some(ALGORITHM) {
        return Err("its algorithm is not HS256".to_owned());
    }
    // RFC 7515, section 4.1.11: a recipient must refuse a token with an extension that it does not support, and a `crit`
    // that is not a list of names.
    if crit {
        return Err("its header has crit, and no extension in it is supported".to_owned());
    }
    // RFC 8725, section 3.11: a token issued for another purpose is not an access token.
    if typ.as_ref().is_some_and(|typ| !typ.as_str().is_some_and(is_access_token)) {
        return Err("its header's typ is neither JWT nor at+jwt".to_owned());
    }
    Ok(())
}

fn is_present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Returns whether a `typ` is accepted. Media types are case-insensitive (RFC 7515, section 4.1.9).
fn is_access_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_named() {
        let check = |header: &str| check(&format!("{}.e30.x", URL_SAFE_NO_PAD.encode(header)));
        assert_eq!(check(r#"{"alg":"HS256","typ":null,"kid":"x"}"#), Ok(()));
        for (header, word) in [
            (r#"{"alg":"none"}"#, "algorithm is not HS256"),
            (r#"{"alg":"hs256"}"#, "algorithm is not HS256"),
            (r#"{"alg":null}"#, "algorithm is not HS256"),
            (r#"{"typ":"JWT"}"#, "algorithm is not HS256"),
            (r#"{"alg":"none","alg":"HS256"}"#, "duplicate field `alg`"),
            (r#"{"alg":"HS256","crit":null}"#, "crit"),
            (r#"{"alg":"HS256","crit":[]}"#, "crit"),
            (r#"{"alg":"HS256","crit":"exp"}"#, "crit"),
            (r#"{"alg":"HS256","typ":1}"#, "typ is neither"),
            (r#"["HS256"]"#, "header is invalid: invalid type: sequence"),
            ("", "header is invalid"),
        ] {
            let reason = check(header).expect_err(header);
            assert!(reason.contains(word) && !reason.contains("column"), "{header}: {reason}");
        }
        for token in ["", "x", "e30.e30", "e30.e30.x.y", "?.e30.x"] {
            assert_eq!(super::check(token).unwrap_err(), NOT_A_JWT, "{token}");
        }
    }
}
