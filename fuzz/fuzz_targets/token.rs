//! Tokens, in each of the three places: no text fails the parser, no text is accepted that is not signed, and a signed one is
//! accepted only for a user, for a limited time, and without extensions.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fanfare_config::auth::{AuthConfig, AuthMode};
use fanfare_config::secret::Secret;
use fanfare_node::auth::{Asked, Auth, CallbackMetrics};
use futures_util::FutureExt;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use libfuzzer_sys::fuzz_target;
use ring::hmac::{HMAC_SHA256, Key, sign};
use serde_json::Value;

/// `auth.jwt.max_lifetime`, and twice the leeway.
const LONGEST: Duration = Duration::from_mins(366 * 24 * 60 + 1);

/// The time at which tokens arrive, so that the times in an input mean the same in every run.
static NOW: LazyLock<SystemTime> =
    LazyLock::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));

static SECRET: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().to_string());

static AUTH: LazyLock<Auth> = LazyLock::new(|| {
    let mut config = AuthConfig { mode: Some(AuthMode::Jwt), ..AuthConfig::default() };
    config.jwt.secret = Some(Secret::new(SECRET.clone()));
    Auth::new(&config, CallbackMetrics::default()).expect("no key files")
});

/// The header, the cookie and the parameter.
fn unsigned(header: &[u8], cookie: &[u8], parameter: &[u8], now: SystemTime) {
    let mut headers = HeaderMap::new();
    for (name, prefix, part) in [(AUTHORIZATION, "Bearer ", header), (COOKIE, "fanfare_token=", cookie)] {
        for bytes in [part.to_vec(), [prefix.as_bytes(), part].concat()] {
            if let Ok(value) = bytes.try_into() {
                headers.append(&name, value);
            }
        }
    }
    let token = String::from_utf8_lossy(parameter);
    let asked = Asked { token: Some(&token), ..Asked::default() };
    for (headers, asked) in [(&headers, asked), (&headers, Asked::default()), (&HeaderMap::new(), asked)] {
        let bearer = AUTH.bearer(headers, asked, now).now_or_never().expect("no keys are fetched");
        assert!(bearer.is_err(), "a token without a signature: {bearer:?}");
    }
}

/// A token of this header and these claims.
fn signed(header: &[u8], claims: &[u8], now: SystemTime) {
    let [head, body] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let text = format!("{head}.{body}");
    let signature = sign(&Key::new(HMAC_SHA256, SECRET.as_bytes()), text.as_bytes());
    let token = format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    let asked = Asked { token: Some(&token), ..Asked::default() };
    let bearer = AUTH.bearer(&HeaderMap::new(), asked, now).now_or_never();
    let Ok(bearer) = bearer.expect("no keys are fetched") else { return };
    assert!(bearer.user.is_some(), "{bearer:?}");
    let expires = bearer.expires.expect("a token expires");
    assert!(expires > now && expires < now + LONGEST, "{bearer:?}");
    let header = std::str::from_utf8(header).expect("a header is UTF-8");
    // Parameters that are ignored may have what `Value` cannot hold: lone surrogates, huge numbers, great depth.
    if let Ok(header) = serde_json::from_str::<Value>(header) {
        assert!(header["alg"] == "HS256" && header["crit"].is_null(), "{header}");
    }
}

// Five parts with a zero byte between them: the header, the cookie and the parameter, then header and claims that are signed.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|&byte| byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let now = *NOW;
    unsigned(next(), next(), next(), now);
    signed(next(), next(), now);
});
