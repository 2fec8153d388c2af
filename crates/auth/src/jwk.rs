//! Reads sets of keys: JWK sets (RFC 7517, section 5), and certificates by `kid`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_protocol::json::{self, ByName};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::algorithm::Algorithm;
use crate::certificate_map;
use crate::key::{Curve, Key, KeyError};

/// Maximum number of keys in a set.
pub(crate) const MAX_KEYS: usize = 100;

/// Why a set of keys cannot be used. Shows nothing of its content but names.
#[derive(Debug, thiserror::Error)]
pub enum JwkSetError {
    /// The text is not an object with a list `keys`, and has no certificates.
    #[error("is not a JWK set, {{\"keys\": [...]}}, and has no certificates by kid: {0}")]
    Json(String),
    /// More keys than are allowed.
    #[error("has {0} keys; at most {MAX_KEYS} are allowed")]
    TooMany(usize),
    /// The set has no key.
    #[error("has no keys")]
    Empty,
    /// None of the keys can verify tokens.
    #[error("has no key that can verify tokens; of the first: {0}")]
    NoUsableKey(String),
}

/// Whether a set may contain secrets (`kty` is `oct`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// From a file of the operator.
    Allowed,
    /// From a URL, which others can read as well.
    Ignored,
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The members of a JWK that are used. Others, also those of a private key, are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// Returns the keys of a set that can verify tokens; at least one. Skips the others: sets also contain keys for
/// encryption, and keys of kinds that other clients of the issuer use.
///
/// # Errors
///
/// Fails if the text is not a JWK set, has too many keys, or has no usable key.
pub(crate) fn keys(text: &[u8], secrets: Secrets) -> Result<Vec<Key>, JwkSetError> {
    let text = json::text(text).map_err(|error| JwkSetError::Json(error.to_string()))?;
    let keys: Vec<_> = if let Some(certificates) = certificate_map::certificates(text) {
        bounded(certificates.len())?;
        certificates.iter().map(|(id, certificate)| certificate_map::key(id, certificate)).collect()
    } else {
        let Set { keys } = json::object(text).map_err(|error| JwkSetError::Json(json::reason(&error)))?;
        bounded(keys.len())?;
        keys.into_iter().map(|key| read(key.get(), secrets)).collect()
    };
    let mut usable = Vec::new();
    let mut first = None;
    for (index, key) in keys.into_iter().enumerate() {
        match key {
            Ok(key) => usable.push(key),
            Err(why) => {
                tracing::debug!(index, why, "skipped a key of a set");
                first.get_or_insert(why);
            }
        }
    }
    match first {
        _ if !usable.is_empty() => Ok(usable),
        Some(why) => Err(JwkSetError::NoUsableKey(why)),
        None => Err(JwkSetError::Empty),
    }
}

fn bounded(keys: usize) -> Result<(), JwkSetError> {
    if keys > MAX_KEYS { Err(JwkSetError::TooMany(keys)) } else { Ok(()) }
}

/// Reads one key. Returns why it cannot be used.
fn read(text: &str, secrets: Secrets) -> Result<Key, String> {
    let ByName(jwk): ByName<Jwk> = serde_json::from_str(text).map_err(|error| json::reason(&error))?;
    if jwk.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
        return Err("its use is not sig".to_owned());
    }
    if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err("its key_ops have no verify".to_owned());
    }
    let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Key::rsa(&bytes("n", jwk.n.as_deref())?, &bytes("e", jwk.e.as_deref())?),
        ("EC", Some("P-256")) => Key::point(Curve::P256, &point(&jwk)?),
        ("EC", Some("P-384")) => Key::point(Curve::P384, &point(&jwk)?),
        ("OKP", Some("Ed25519")) => Key::point(Curve::Ed25519, &bytes("x", jwk.x.as_deref())?),
        ("oct", _) if secrets == Secrets::Ignored => {
            return Err("it is a secret, which others can read as well".to_owned());
        }
        ("oct", _) => Key::secret(&bytes("k", jwk.k.as_deref())?),
        _ => Err(KeyError::Kind),
    };
    let key = key.map_err(|error| error.to_string())?.with_id(jwk.kid.as_deref());
    match &jwk.alg {
        None => Ok(key),
        Some(name) => {
            let algorithm = Algorithm::named(name).ok_or("its alg is not supported")?;
            key.only(algorithm).map_err(|error| error.to_string())
        }
    }
}

/// Returns the uncompressed form of a point. Each coordinate has the full length (RFC 7518, section 6.2.1.2).
fn point(jwk: &Jwk) -> Result<Vec<u8>, String> {
    let (x, y) = (bytes("x", jwk.x.as_deref())?, bytes("y", jwk.y.as_deref())?);
    if x.len() != y.len() {
        return Err(KeyError::Point.to_string());
    }
    Ok([&[4][..], &x, &y].concat())
}

fn bytes(name: &str, value: Option<&str>) -> Result<Vec<u8>, String> {
    let value = value.ok_or_else(|| format!("it has no {name}"))?;
    URL_SAFE_NO_PAD.decode(value).map_err(|_| format!("its {name} is not base64url without padding"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// RFC 7517, appendix A.1.
    const EXAMPLE: &str = r#"{"keys":[
        {"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
         "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"},
        {"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
         "e":"AQAB","alg":"RS256","kid":"2011-04-29"}]}"#;

    fn one(key: &Value, secrets: Secrets) -> Result<Key, String> {
        let text = json!({"keys": [key]}).to_string();
        keys(text.as_bytes(), secrets).map(|mut keys| keys.remove(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_the_standard_has_one_key_for_signatures() {
        let keys = keys(EXAMPLE.as_bytes(), Secrets::Ignored).unwrap();
        let [key] = &keys[..] else { panic!("{keys:?}") };
        assert_eq!(key.algorithms().to_string(), "RS256");
        assert!(key.fits(Some("2011-04-29")) && key.fits(None) && !key.fits(Some("1")));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_skipped_with_the_reason() {
        let ec = json!({"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"});
        assert!(one(&ec, Secrets::Ignored).is_ok());
        let with = |name: &str, value: Value| {
            let mut key = ec.clone();
            key[name] = value;
            key
        };
        for (key, word) in [
            (with("use", json!("enc")), "use"),
            (with("use", json!("SIG")), "use"),
            (with("key_ops", json!(["sign"])), "key_ops"),
            (with("alg", json!("RS256")), "RS256"),
            (with("alg", json!("ES384")), "ES384"),
            (with("alg", json!("ECDH-ES")), "alg is not supported"),
            (with("crv", json!("P-384")), "point"),
            (with("crv", json!("secp256k1")), "kind"),
            (with("crv", json!("P-521")), "kind"),
            (with("kty", json!("RSA")), "no n"),
            (with("kty", json!("AKP")), "kind"),
            (with("kty", json!(1)), "string"),
            (with("kid", json!(7)), "string"),
            (with("x", json!("MKBC")), "point"),
            (with("x", json!("?")), "base64url"),
            (with("x", json!("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4=")), "base64url"),
            (with("y", Value::Null), "no y"),
            (json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), "17 bits"),
            (json!({"kty": "oct", "k": "AQAB"}), "secret"),
            (json!({"kty": "OKP", "crv": "X25519", "x": "AQAB"}), "kind"),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": "AQAB"}), "point"),
            (json!([]), "invalid type"),
            (json!("RSA"), "invalid type"),
        ] {
            let error = one(&key, Secrets::Ignored).unwrap_err();
            assert!(error.contains(word), "{key}: {error}");
        }
        assert!(one(&with("use", json!("sig")), Secrets::Ignored).is_ok());
        assert!(one(&with("key_ops", json!(["verify"])), Secrets::Ignored).is_ok());
    }

    #[test]
    fn a_secret_counts_in_a_file_only() {
        let secret = json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"});
        let key = one(&secret, Secrets::Allowed).unwrap();
        assert_eq!(key.algorithms().to_string(), "HS256, HS384, HS512");
        assert!(one(&secret, Secrets::Ignored).is_err());
        assert!(one(&json!({"kty": "oct", "k": "AQAB"}), Secrets::Allowed).unwrap_err().contains("3 bytes"));
    }

    #[test]
    fn a_set_may_be_certificates_by_kid() {
        let certificate = include_str!("../tests/keys/es256.certificate.pem");
        let broken = certificate.replace("MI", "AA");
        let read = |text: &Value| keys(text.to_string().as_bytes(), Secrets::Ignored);
        let two = read(&json!({"a": certificate, "b": certificate, "c": broken})).unwrap();
        assert_eq!(two.iter().filter(|key| key.is_named("a") || key.is_named("b")).count(), two.len());
        assert_eq!(two.len(), 2);
        assert!(read(&json!({"c": broken})).unwrap_err().to_string().contains("no key that can verify"));
        let many: serde_json::Map<_, _> =
            (0..=MAX_KEYS).map(|id| (id.to_string(), certificate.into())).collect();
        assert!(read(&many.into()).unwrap_err().to_string().contains("101 keys"));
        let both = read(&json!({"keys": [], "a": certificate})).unwrap_err();
        assert!(both.to_string().contains("no keys"), "{both}");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let error = |text: &str| keys(text.as_bytes(), Secrets::Ignored).map(drop).unwrap_err().to_string();
        for text in
            ["", "[]", "{}", "7", r#"{"keys":{}}"#, "<html>", "\u{feff}{\"keys\":[]}", r#"{"keys":[{}]"#]
        {
            assert!(error(text).contains("not a JWK set"), "{text}: {}", error(text));
        }
        assert!(error(r#"{"keys":[]}"#).contains("no keys"));
        let many = json!({"keys": vec![json!({"kty": "RSA"}); MAX_KEYS + 1]}).to_string();
        assert!(error(&many).contains("101 keys"));
    }
}
