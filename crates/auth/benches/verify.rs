//! Verifying one token: `cargo bench --package fanfare-auth`.
//!
//! - `verify`: what a node does, by algorithm: the form, the header, the signature, and all checks of the claims
//! - `lower_bound`: what any verification of HS256 does: base64, HMAC by `ring`, and the claims by `serde_json`, without a check
//! - `signature`: the share of the signature alone

#![allow(missing_docs, reason = "a benchmark has no users")]

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use divan::{Bencher, black_box};
use fanfare_auth::key::Key;
use fanfare_auth::new_token::NewToken;
use fanfare_auth::signing_key::SigningKey;
use fanfare_auth::{Authenticator, IssuerSettings, key_file};
use fanfare_protocol::{Grants, Pattern, User};
use ring::hmac;
use serde::Deserialize;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const ALGORITHMS: [&str; 5] = ["HS256", "RS256", "ES256", "ES384", "EdDSA"];
const ISSUER: &str = "https://login.example";

fn main() {
    divan::main();
}

/// Returns the key that signs and those that verify.
fn keys(algorithm: &str) -> (SigningKey, Vec<Key>) {
    let (private, public): (&[u8], &[u8]) = match algorithm {
        "RS256" => (
            include_bytes!("../tests/keys/rs256.private.pem"),
            include_bytes!("../tests/keys/rs256.public.pem"),
        ),
        "ES256" => (
            include_bytes!("../tests/keys/es256.private.pem"),
            include_bytes!("../tests/keys/es256.public.pem"),
        ),
        "ES384" => (
            include_bytes!("../tests/keys/es384.private.pem"),
            include_bytes!("../tests/keys/es384.public.pem"),
        ),
        "EdDSA" => (
            include_bytes!("../tests/keys/ed25519.private.pem"),
            include_bytes!("../tests/keys/ed25519.public.pem"),
        ),
        _ => {
            let signing = SigningKey::secret(SECRET, None).expect("a secret");
            return (signing, vec![Key::secret(SECRET).expect("a secret")]);
        }
    };
    (SigningKey::pem(private, None).expect("a key"), key_file::keys(public).expect("a key"))
}

/// Returns the settings of an issuer and one of its tokens, with a user, an audience and three grants.
fn issuer(algorithm: &str, now: SystemTime) -> (IssuerSettings, String) {
    let (signing, keys) = keys(algorithm);
    let issuer = IssuerSettings {
        issuer: Some(ISSUER.to_owned()),
        audience: vec!["fanfare".to_owned()],
        max_lifetime: Some(Duration::from_hours(24)),
        leeway: Duration::from_secs(5),
        keys,
        ..IssuerSettings::new("auth.jwt")
    };
    let pattern = |text| Pattern::new(text).expect("a pattern");
    let token = NewToken {
        user: User::new("4711").expect("a user"),
        grants: Grants {
            subscribe: vec![pattern("room:*"), pattern("team:7:*")],
            publish: vec![pattern("room:*")],
            ..Grants::default()
        },
        ttl: Duration::from_hours(1),
    };
    let token = token.sign(&signing, &issuer, now).expect("a token");
    (issuer, token)
}

#[divan::bench(args = ALGORITHMS)]
fn verify(bencher: Bencher<'_, '_>, algorithm: &str) {
    let now = SystemTime::now();
    let (issuer, token) = issuer(algorithm, now);
    let authenticator = Authenticator::new(vec![issuer]).expect("no files");
    bencher.bench_local(|| authenticator.check(black_box(&token), now).expect("a good token"));
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read, and not looked at")]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read, and not looked at")]
struct Claims<'a> {
    sub: &'a str,
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    fanfare: Grants,
}

#[divan::bench]
fn lower_bound(bencher: Bencher<'_, '_>) {
    let (_, token) = issuer("HS256", SystemTime::now());
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    bencher.bench_local(|| {
        let (signed, signature) = black_box(&token).rsplit_once('.').expect("a signature");
        let (header, claims) = signed.split_once('.').expect("claims");
        let [header, claims, signature] =
            [header, claims, signature].map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"));
        hmac::verify(&key, signed.as_bytes(), &signature).expect("a good signature");
        let _: Header<'_> = black_box(serde_json::from_slice(&header).expect("a header"));
        let claims: Claims<'_> = serde_json::from_slice(&claims).expect("claims");
        (claims.exp, claims.fanfare)
    });
}

#[divan::bench]
fn signature(bencher: Bencher<'_, '_>) {
    let (_, token) = issuer("HS256", SystemTime::now());
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    bencher.bench_local(|| hmac::verify(&key, black_box(signed.as_bytes()), &signature).is_ok());
}
