//! Sets of keys: what an issuer's URL answers, and what a key file has. No text fails the readers; each key of a set is one that
//! a second reading of RFC 7517 and RFC 7518 allows; and a URL gives no secret.

#![no_main]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fanfare_auth::key::Key;
use fanfare_auth::remote_keys::source;
use fanfare_auth::{Algorithm, Algorithms, key_file};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Maximum number of keys in a set.
const MAX_KEYS: usize = 100;
const SECRETS: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

fuzz_target!(|text: &[u8]| {
    let remote = source::keys(text);
    if let Ok(keys) = &remote {
        check(text, keys, false);
        let local = key_file::keys(text).map(|keys| keys.len());
        assert!(local.is_ok_and(|local| local >= keys.len()), "a file has fewer keys than a URL");
    }
    if text.trim_ascii_start().starts_with(b"{")
        && let Ok(keys) = key_file::keys(text)
    {
        check(text, &keys, true);
    }
});

/// Checks that the keys of a text are among those that it may have.
fn check(text: &[u8], keys: &[Key], secrets: bool) {
    assert!((1..=MAX_KEYS).contains(&keys.len()), "{} keys", keys.len());
    for key in keys {
        let is_of = |kind: &[Algorithm]| key.algorithms().and(Algorithms::of(kind)) == key.algorithms();
        let kinds: [&[Algorithm]; 5] =
            [&SECRETS, &RSA, &[Algorithm::ES256], &[Algorithm::ES384], &[Algorithm::EdDSA]];
        assert!(!key.algorithms().is_empty() && kinds.into_iter().any(is_of), "{key:?} is of two kinds");
        assert!(secrets || !is_of(&SECRETS), "{key:?} is a secret");
    }
    // Members that are ignored may have what `Value` cannot hold: lone surrogates, huge numbers, great depth.
    let Ok(Value::Object(set)) = serde_json::from_slice(text) else { return };
    let Some(Value::Array(members)) = set.get("keys") else {
        assert!(set.values().all(|value| value.as_str().is_some_and(|text| text.contains("CERTIFICATE"))));
        return;
    };
    let allowed = members.iter().filter(|key| is_allowed(key, secrets)).count();
    assert!(keys.len() <= allowed, "{} keys, of which {allowed} are allowed", keys.len());
}

/// Returns whether a JWK may verify tokens.
fn is_allowed(key: &Value, secrets: bool) -> bool {
    let text = |name: &str| key[name].as_str();
    let length = |name: &str| {
        text(name).and_then(|value| BASE64_URL_SAFE_NO_PAD.decode(value).ok()).map(|bytes| bytes.len())
    };
    if !key["use"].is_null() && text("use") != Some("sig") {
        return false;
    }
    let ops = &key["key_ops"];
    if !ops.is_null() && !ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")) {
        return false;
    }
    let (algorithms, fits): (&[&str], _) = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => (
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            length("n").is_some_and(|n| n >= 256) && length("e").is_some_and(|e| e >= 1),
        ),
        (Some("EC"), Some("P-256")) => (&["ES256"], (length("x"), length("y")) == (Some(32), Some(32))),
        (Some("EC"), Some("P-384")) => (&["ES384"], (length("x"), length("y")) == (Some(48), Some(48))),
        (Some("OKP"), Some("Ed25519")) => (&["EdDSA", "Ed25519"], length("x") == Some(32)),
        (Some("oct"), _) => (&["HS256", "HS384", "HS512"], secrets && length("k").is_some_and(|k| k >= 32)),
        _ => return false,
    };
    fits && (key["alg"].is_null() || text("alg").is_some_and(|alg| algorithms.contains(&alg)))
}
