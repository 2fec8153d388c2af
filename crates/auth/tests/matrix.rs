//! Algorithms, keys and confusions of both: which tokens are accepted, and why others are not.
//!
//! `keys/tokens.json` has a token of each algorithm by another implementation. The other tokens are signed here, by `ring`
//! alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_auth::key::Key;
use fanfare_auth::key_file::KeyFiles;
use fanfare_auth::{Algorithm, Algorithms, Authenticator, IssuerSettings, TokenError};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use ring::{digest, hmac};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

const SECRET: &str = "a secret of the tests, which is longer than the longest hash of an HMAC";
const NOW: u64 = 1_700_000_000;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// An issuer with these key files, as `change` says.
fn with(files: &[&str], change: impl FnOnce(&mut IssuerSettings)) -> IssuerSettings {
    let files = KeyFiles { secret: None, keys: files.iter().map(|name| path(name)).collect() };
    let mut settings = IssuerSettings { files, ..IssuerSettings::new("auth.jwt") };
    change(&mut settings);
    settings
}

fn one(settings: IssuerSettings) -> Authenticator {
    Authenticator::new(vec![settings]).unwrap()
}

fn files(files: &[&str]) -> Authenticator {
    one(with(files, |_| ()))
}

fn secret(secret: &[u8]) -> Authenticator {
    one(with(&[], |issuer| issuer.keys = vec![Key::secret(secret).unwrap()]))
}

/// Signs with a private key, or with a secret.
fn sign(algorithm: &str, key: &str, text: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let secret = |hash| hmac::sign(&hmac::Key::new(hash, key.as_bytes()), text).as_ref().to_vec();
    let der = || PrivateKeyDer::from_pem_slice(&read(&format!("{key}.private.pem"))).unwrap();
    let rsa = |encoding: &'static dyn signature::RsaEncoding| {
        let key = RsaKeyPair::from_pkcs8(der().secret_der()).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(encoding, &random, text, &mut signature).unwrap();
        signature
    };
    let ecdsa = |signing| {
        let key = EcdsaKeyPair::from_pkcs8(signing, der().secret_der(), &random).unwrap();
        key.sign(&random, text).unwrap().as_ref().to_vec()
    };
    match algorithm {
        "HS256" => secret(hmac::HMAC_SHA256),
        "HS384" => secret(hmac::HMAC_SHA384),
        "HS512" => secret(hmac::HMAC_SHA512),
        "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_SHA512),
        "ES256" => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        "ES384" => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        "ES256 as DER" => ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
        "EdDSA" => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der().secret_der()).unwrap();
            key.sign(text).as_ref().to_vec()
        }
        other => panic!("{other}"),
    }
}

fn base64(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// A token with a signature that is made of its text.
fn made(header: &Value, claims: &Value, signature: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    format!("{text}.{}", base64(signature(text.as_bytes())))
}

fn claims() -> Value {
    json!({"sub": "7", "exp": NOW + 600})
}

/// A token with any header, signed by an algorithm and a key.
fn headed(header: &Value, algorithm: &str, key: &str) -> String {
    made(header, &claims(), |text| sign(algorithm, key, text))
}

/// A token as it should be.
fn good(algorithm: &str, key: &str) -> String {
    headed(&json!({"alg": algorithm}), algorithm, key)
}

/// A token as it should be, with a `kid`.
fn named(algorithm: &str, key: &str, kid: &str) -> String {
    headed(&json!({"alg": algorithm, "kid": kid}), algorithm, key)
}

/// A token whose header says one thing, and whose signature is another.
fn posing(alg: &str, algorithm: &str, key: &str) -> String {
    headed(&json!({"alg": alg}), algorithm, key)
}

/// A token of ES256 with these claims.
fn saying(claims: &Value) -> String {
    let mut all = self::claims();
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    made(&json!({"alg": "ES256"}), &all, |text| sign("ES256", "es256", text))
}

/// Name, verification, token, and a word of the reason why it is refused; empty for a token that is accepted.
type Row<'a> = (&'a str, &'a Authenticator, String, &'a str);

#[track_caller]
fn check(rows: Vec<Row<'_>>, least: usize) {
    assert!(rows.len() >= least, "{} rows", rows.len());
    let mut wrong = Vec::new();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    for (name, auth, token, word) in rows {
        match (auth.check(&token, now), word) {
            (Ok(identity), "") => assert_eq!(identity.user.id(), "7"),
            (Err(TokenError::Expired { .. }), "expired") => {}
            (Err(TokenError::Invalid(reason)), word) if !word.is_empty() && reason.contains(word) => {}
            (result, _) => wrong.push(format!("{name}: {result:?}, wanted {word:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_token_of_each_algorithm_by_another_implementation_is_accepted_by_its_key_only() {
    let tokens: Value = serde_json::from_slice(&read("tokens.json")).unwrap();
    let keys = [
        ("HS", secret(SECRET.as_bytes())),
        ("RS PS", files(&["rs256.public.pem"])),
        ("ES256", files(&["es256.public.pem"])),
        ("ES384", files(&["es384.public.pem"])),
        ("EdDSA", files(&["ed25519.public.pem"])),
        ("HS RS ES PS EdDSA", files(&["set.json", "es384.public.pem", "rs256.public.pem"])),
    ];
    let mut rows = Vec::new();
    for (algorithm, token) in tokens.as_object().unwrap() {
        let token = token.as_str().unwrap();
        for (owner, auth) in &keys {
            let is_own = owner.split(' ').any(|own| algorithm.starts_with(own));
            // The secret in the set is for HS256.
            let is_own = is_own && (owner.len() < 6 || !["HS384", "HS512"].contains(&algorithm.as_str()));
            rows.push((algorithm.as_str(), auth, token.to_owned(), if is_own { "" } else { "algorithm" }));
        }
        let (text, signature) = token.rsplit_once('.').unwrap();
        let mut other = URL_SAFE_NO_PAD.decode(signature).unwrap();
        other[0] ^= 1;
        let all = &keys[5].1;
        let word = if ["HS384", "HS512"].contains(&algorithm.as_str()) { "algorithm" } else { "signature" };
        rows.push(("another bit of the signature", all, format!("{text}.{}", base64(other)), word));
        rows.push(("no signature", all, format!("{text}."), word));
    }
    check(rows, 12 * 8);
}

#[test]
fn the_key_decides_the_algorithm() {
    let (rsa, es256, ed) =
        (files(&["rs256.public.pem"]), files(&["es256.public.pem"]), files(&["ed25519.public.pem"]));
    let (es384, hs) = (files(&["es384.public.pem"]), secret(SECRET.as_bytes()));
    let (hs32, hs48) = (secret(&[b'k'; 32]), secret(&[b'k'; 48]));
    let public = |name: &str| String::from_utf8(read(name)).unwrap();
    let none = |alg: &str| made(&json!({"alg": alg}), &claims(), |_| Vec::new());
    let k = |length: usize| "k".repeat(length);
    check(
        vec![
            ("none", &rsa, none("none"), "algorithm"),
            ("None", &rsa, none("None"), "algorithm"),
            ("NONE with a secret", &hs, none("NONE"), "algorithm"),
            ("none with a signature", &hs, posing("none", "HS256", SECRET), "algorithm"),
            ("an empty alg", &hs, posing("", "HS256", SECRET), "algorithm"),
            ("lower case", &hs, posing("hs256", "HS256", SECRET), "algorithm"),
            ("no alg", &hs, headed(&json!({"typ": "JWT"}), "HS256", SECRET), "algorithm"),
            ("alg is a list", &hs, headed(&json!({"alg": ["HS256"]}), "HS256", SECRET), "algorithm"),
            ("alg is a number", &hs, headed(&json!({"alg": 256}), "HS256", SECRET), "algorithm"),
            (
                "the public key's text as a secret",
                &rsa,
                good("HS256", &public("rs256.public.pem")),
                "HS256 is not",
            ),
            ("the same with a P-256 key", &es256, good("HS256", &public("es256.public.pem")), "HS256 is not"),
            (
                "the same with an Ed25519 key",
                &ed,
                good("HS256", &public("ed25519.public.pem")),
                "HS256 is not",
            ),
            ("the same with HS512", &rsa, good("HS512", &public("rs256.public.pem")), "HS512 is not"),
            (
                "an HMAC by the name of RS256",
                &rsa,
                posing("RS256", "HS256", &public("rs256.public.pem")),
                "signature",
            ),
            ("RS256 at a secret", &hs, good("RS256", "rs256"), "RS256 is not"),
            ("ES256 at a secret", &hs, good("ES256", "es256"), "ES256 is not"),
            ("an RSA signature by the name of HS256", &hs, posing("HS256", "RS256", "rs256"), "signature"),
            ("RS256 by the name of PS256", &rsa, posing("PS256", "RS256", "rs256"), "signature"),
            ("PS256 by the name of RS256", &rsa, posing("RS256", "PS256", "rs256"), "signature"),
            ("RS256 by the name of RS512", &rsa, posing("RS512", "RS256", "rs256"), "signature"),
            ("another RSA key", &rsa, good("RS256", "rs256-other"), "signature"),
            ("another P-256 key", &es256, good("ES256", "es256-other"), "signature"),
            ("the curve of ES384", &es256, posing("ES256", "ES384", "es384"), "signature"),
            ("ES384 at a P-256 key", &es256, good("ES384", "es384"), "ES384 is not"),
            ("ES256 at a P-384 key", &es384, good("ES256", "es256"), "ES256 is not"),
            ("EdDSA at a P-256 key", &es256, good("EdDSA", "ed25519"), "EdDSA is not"),
            ("Ed25519 is EdDSA", &ed, posing("Ed25519", "EdDSA", "ed25519"), ""),
            ("ES256K", &es256, posing("ES256K", "ES256", "es256"), "algorithm"),
            ("ES512", &es256, posing("ES512", "ES256", "es256"), "algorithm"),
            ("RSA-OAEP", &rsa, posing("RSA-OAEP", "RS256", "rs256"), "algorithm"),
            ("HS256 with 32 bytes", &hs32, good("HS256", &k(32)), ""),
            ("HS384 with 32 bytes", &hs32, good("HS384", &k(32)), "HS384 is not"),
            ("HS384 with 48 bytes", &hs48, good("HS384", &k(48)), ""),
            ("HS512 with 48 bytes", &hs48, good("HS512", &k(48)), "HS512 is not"),
            ("a secret with a line ending", &hs32, good("HS256", &format!("{}\n", k(32))), "signature"),
        ],
        35,
    );
}

#[test]
fn a_signature_has_one_form() {
    let (rsa, es256, ed) =
        (files(&["rs256.public.pem"]), files(&["es256.public.pem"]), files(&["ed25519.public.pem"]));
    let es384 = files(&["es384.public.pem"]);
    let hs = secret(SECRET.as_bytes());
    let es = |signature: Vec<u8>| made(&json!({"alg": "ES256"}), &claims(), |_| signature);
    let half = |r: u8, s: u8| [[vec![0; 31], vec![r]].concat(), [vec![0; 31], vec![s]].concat()].concat();
    // The order of the curve.
    let order: Vec<u8> = [
        0xff_u8, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
        0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ]
    .to_vec();
    let rs = |change: fn(Vec<u8>) -> Vec<u8>| {
        made(&json!({"alg": "RS256"}), &claims(), |text| change(sign("RS256", "rs256", text)))
    };
    let cut = |token: String, to: usize| token[..token.len() - to].to_owned();
    check(
        vec![
            ("r and s are zero (CVE-2022-21449)", &es256, es(vec![0; 64]), "signature"),
            ("r is zero", &es256, es(half(0, 1)), "signature"),
            ("s is zero", &es256, es(half(1, 0)), "signature"),
            ("r and s are one", &es256, es(half(1, 1)), "signature"),
            ("r and s are the order", &es256, es([order.clone(), order].concat()), "signature"),
            (
                "zeros for P-384",
                &es384,
                made(&json!({"alg": "ES384"}), &claims(), |_| vec![0; 96]),
                "signature",
            ),
            (
                "zeros for Ed25519",
                &ed,
                made(&json!({"alg": "EdDSA"}), &claims(), |_| vec![0; 64]),
                "signature",
            ),
            ("DER", &es256, posing("ES256", "ES256 as DER", "es256"), "signature"),
            ("one half", &es256, es(vec![1; 32]), "signature"),
            ("a byte more", &es256, es(vec![1; 65]), "signature"),
            ("nothing", &es256, es(Vec::new()), "signature"),
            ("an RSA signature of zeros", &rsa, rs(|_| vec![0; 256]), "signature"),
            ("an RSA signature of one", &rsa, rs(|_| [vec![0; 255], vec![1]].concat()), "signature"),
            ("an RSA signature with a zero in front", &rsa, rs(|own| [vec![0], own].concat()), "signature"),
            ("an RSA signature that is cut", &rsa, rs(|own| own[..255].to_vec()), "signature"),
            (
                "an HMAC that is cut",
                &hs,
                made(&json!({"alg": "HS256"}), &claims(), |text| sign("HS256", SECRET, text)[..16].to_vec()),
                "signature",
            ),
            (
                "a hash",
                &hs,
                made(&json!({"alg": "HS256"}), &claims(), |text| {
                    digest::digest(&digest::SHA256, text).as_ref().to_vec()
                }),
                "signature",
            ),
            ("the last character cut", &hs, cut(good("HS256", SECRET), 1), "not a JWT"),
            ("padding", &hs, good("HS256", SECRET) + "=", "not a JWT"),
            ("a space", &hs, good("HS256", SECRET) + " ", "not a JWT"),
            ("four parts", &hs, good("HS256", SECRET) + ".x", "not a JWT"),
            ("two parts", &hs, good("HS256", SECRET).rsplit_once('.').unwrap().0.to_owned(), "not a JWT"),
            ("five parts, like an encrypted token", &hs, "e30.e30.e30.e30.e30".to_owned(), "not a JWT"),
            (
                "other claims",
                &es256,
                {
                    let (header, rest) = (base64(r#"{"alg":"ES256"}"#), good("ES256", "es256"));
                    let signature = rest.rsplit_once('.').unwrap().1;
                    format!("{header}.{}.{signature}", base64(r#"{"sub":"1","exp":1700000600}"#))
                },
                "signature",
            ),
            ("17 KiB", &es256, saying(&json!({"x": "x".repeat(13 * 1024)})), "at most"),
            ("11 KiB", &es256, saying(&json!({"x": "x".repeat(8 * 1024)})), ""),
        ],
        26,
    );
}

#[test]
fn a_kid_chooses_among_the_keys_of_the_issuer() {
    let set = files(&["set.json"]);
    let two = files(&["es256.public.pem", "es256-other.public.pem"]);
    let mixed = files(&["set.json", "es256-other.public.pem"]);
    let ten: Vec<_> = std::iter::repeat_n("es256-other.public.pem", 10).collect();
    let many = files(&[&ten[..], &["es256.public.pem"]].concat());
    let same_dir = tempfile::tempdir().unwrap();
    let same_file = same_dir.path().join("same.json");
    let mut same: Value = serde_json::from_slice(&read("set.json")).unwrap();
    for key in same["keys"].as_array_mut().unwrap() {
        key["kid"] = json!("same");
    }
    std::fs::write(&same_file, same.to_string()).unwrap();
    let same = one(with(&[], |issuer| issuer.files.keys = vec![same_file]));
    let limited = one(with(&["set.json"], |issuer| {
        issuer.algorithms = Algorithms::of(&[Algorithm::PS256, Algorithm::ES256]);
    }));
    check(
        vec![
            ("its kid", &set, named("ES256", "es256", "es"), ""),
            ("no kid", &set, good("ES256", "es256"), ""),
            ("no kid, and an algorithm of two kinds of keys", &set, good("EdDSA", "ed25519"), ""),
            (
                "the kid of another key",
                &set,
                named("ES256", "es256", "ed"),
                "ES256 is not one of its key's (EdDSA)",
            ),
            (
                "the kid of a key with another alg",
                &set,
                named("PS256", "rs256", "rs"),
                "PS256 is not one of its key's (RS256)",
            ),
            ("an unknown kid", &set, named("ES256", "es256", "new"), "no key has its kid"),
            ("a kid in upper case", &set, named("ES256", "es256", "ES"), "no key has its kid"),
            ("an empty kid", &set, named("ES256", "es256", ""), "no key has its kid"),
            (
                "the kid of a key for encryption",
                &set,
                named("RS256", "rs256-other", "enc"),
                "no key has its kid",
            ),
            ("a kid with a path", &set, named("HS256", "", "../../../../dev/null"), "no key has its kid"),
            ("a kid with a quote", &set, named("HS256", "", "x' UNION SELECT 'key"), "no key has its kid"),
            (
                "a kid that is a number",
                &set,
                headed(&json!({"alg": "ES256", "kid": 1}), "ES256", "es256"),
                "kid is not",
            ),
            ("a kid of 2 KiB", &set, named("ES256", "es256", &"k".repeat(2048)), "kid is not"),
            ("the secret of the set", &set, named("HS256", SECRET, "hs"), ""),
            ("the secret with another algorithm", &set, named("HS512", SECRET, "hs"), "HS512 is not"),
            ("the first of two", &two, good("ES256", "es256"), ""),
            ("the second of two", &two, good("ES256", "es256-other"), ""),
            ("keys without a kid fit every kid", &two, named("ES256", "es256-other", "any"), ""),
            ("neither of two", &two, posing("ES256", "EdDSA", "ed25519"), "signature"),
            ("a PEM key beside a set, by an unknown kid", &mixed, named("ES256", "es256-other", "new"), ""),
            ("a key of the set by an unknown kid", &mixed, named("ES256", "es256", "new"), "signature"),
            ("the same kid, ES256", &same, named("ES256", "es256", "same"), ""),
            ("the same kid, RS256", &same, named("RS256", "rs256", "same"), ""),
            ("the same kid, another key", &same, named("ES256", "es256-other", "same"), "signature"),
            ("the same kid, an algorithm of none", &same, named("PS512", "rs256", "same"), "PS512 is not"),
            ("the eleventh key", &many, good("ES256", "es256"), "more than 10 keys"),
            ("the first of eleven keys", &many, good("ES256", "es256-other"), ""),
            ("an algorithm of the settings", &limited, named("ES256", "es256", "es"), ""),
            (
                "not of the settings",
                &limited,
                named("EdDSA", "ed25519", "ed"),
                "not accepted by the settings",
            ),
            (
                "of the settings, but not of the key",
                &limited,
                named("PS256", "rs256", "rs"),
                "not accepted by the settings",
            ),
            (
                "of the key, but not of the settings",
                &limited,
                named("RS256", "rs256", "rs"),
                "not accepted by the settings",
            ),
        ],
        31,
    );
}

#[test]
fn nothing_in_the_header_brings_a_key() {
    let own: Value = serde_json::from_slice::<Value>(&read("set.json")).unwrap()["keys"][2].clone();
    let carried = |name: &str, value: Value| {
        let mut header = json!({"alg": "ES256"});
        header[name] = value;
        headed(&header, "ES256", "es256-other")
    };
    let es256 = files(&["es256.public.pem"]);
    check(
        vec![
            ("jwk", &es256, carried("jwk", own), "signature"),
            ("jku", &es256, carried("jku", json!("https://attacker.example/keys")), "signature"),
            ("x5u", &es256, carried("x5u", json!("https://attacker.example/cert")), "signature"),
            ("x5c", &es256, carried("x5c", json!(["MIIB"])), "signature"),
            (
                "a good token with jku",
                &es256,
                headed(&json!({"alg": "ES256", "jku": "https://x"}), "ES256", "es256"),
                "",
            ),
            (
                "b64 without crit",
                &es256,
                headed(&json!({"alg": "ES256", "b64": false}), "ES256", "es256"),
                "",
            ),
            (
                "b64 with crit",
                &es256,
                headed(&json!({"alg": "ES256", "b64": false, "crit": ["b64"]}), "ES256", "es256"),
                "crit",
            ),
            ("an empty crit", &es256, headed(&json!({"alg": "ES256", "crit": []}), "ES256", "es256"), "crit"),
            (
                "crit is null",
                &es256,
                headed(&json!({"alg": "ES256", "crit": null}), "ES256", "es256"),
                "crit",
            ),
        ],
        9,
    );
}

#[test]
fn what_a_token_says_is_checked_by_the_issuer_that_it_names() {
    let name = |issuer: &mut IssuerSettings, name: &str| issuer.issuer = Some(name.to_owned());
    let a = || with(&["es256.public.pem"], |issuer| name(issuer, "https://a"));
    let b = || with(&["es256-other.public.pem"], |issuer| name(issuer, "https://b"));
    let rest = || with(&["ed25519.public.pem"], |_| ());
    let (alone, two) = (one(a()), Authenticator::new(vec![a(), b()]).unwrap());
    let three = Authenticator::new(vec![a(), b(), rest()]).unwrap();
    let aud = one(with(&["es256.public.pem"], |issuer| issuer.audience = vec!["fanfare".into(), "x".into()]));
    let typ = one(with(&["es256.public.pem"], |issuer| issuer.typ = Some("at+jwt".into())));
    let plain = files(&["es256.public.pem"]);
    let typed = |typ: Value| headed(&json!({"alg": "ES256", "typ": typ}), "ES256", "es256");
    let from = |iss: &str, key: &str| {
        let claims = json!({"sub": "7", "exp": NOW + 600, "iss": iss});
        made(&json!({"alg": "ES256"}), &claims, |text| sign("ES256", key, text))
    };
    check(
        vec![
            ("its iss", &alone, from("https://a", "es256"), ""),
            ("another iss", &alone, from("https://b", "es256"), "its iss is not auth.jwt.issuer"),
            ("no iss", &alone, good("ES256", "es256"), "iss"),
            ("iss with a slash", &alone, from("https://a/", "es256"), "iss"),
            ("iss is a list", &alone, saying(&json!({"iss": ["https://a"]})), "iss"),
            ("the first of two", &two, from("https://a", "es256"), ""),
            ("the second of two", &two, from("https://b", "es256-other"), ""),
            ("the key of the other issuer", &two, from("https://b", "es256"), "signature"),
            ("the other way round", &two, from("https://a", "es256-other"), "signature"),
            ("neither of two", &two, from("https://c", "es256"), "none of the issuers"),
            ("no iss at two", &two, good("ES256", "es256"), "none of the issuers"),
            (
                "claims that are no object at two",
                &two,
                made(&json!({"alg": "ES256"}), &json!([]), |_| vec![1; 64]),
                "claims are invalid",
            ),
            ("no iss at an issuer without a name", &three, good("EdDSA", "ed25519"), ""),
            (
                "any iss at an issuer without a name",
                &three,
                made(
                    &json!({"alg": "EdDSA"}),
                    &json!({"sub": "7", "exp": NOW + 9, "iss": "https://c"}),
                    |text| sign("EdDSA", "ed25519", text),
                ),
                "",
            ),
            (
                "a named iss with the key of the one without",
                &three,
                made(
                    &json!({"alg": "EdDSA"}),
                    &json!({"sub": "7", "exp": NOW + 9, "iss": "https://a"}),
                    |text| sign("EdDSA", "ed25519", text),
                ),
                "EdDSA is not",
            ),
            ("aud", &aud, saying(&json!({"aud": "fanfare"})), ""),
            ("aud in a list", &aud, saying(&json!({"aud": ["y", "x"]})), ""),
            ("another aud", &aud, saying(&json!({"aud": "y"})), "aud"),
            ("no aud", &aud, good("ES256", "es256"), "aud"),
            ("aud in another case", &aud, saying(&json!({"aud": "Fanfare"})), "aud"),
            ("aud is a part", &aud, saying(&json!({"aud": "fanfare2"})), "aud"),
            ("aud is an object", &aud, saying(&json!({"aud": {"fanfare": 1}})), "aud"),
            ("typ JWT", &plain, typed(json!("JWT")), ""),
            ("typ of a logout token", &plain, typed(json!("logout+jwt")), "typ"),
            ("typ is a list", &plain, typed(json!(["JWT"])), "typ"),
            ("the required typ", &typ, typed(json!("application/AT+jwt")), ""),
            ("JWT instead of the required typ", &typ, typed(json!("JWT")), "typ is not at+jwt"),
            ("no typ instead of the required", &typ, good("ES256", "es256"), "typ is not at+jwt"),
            ("expired", &plain, saying(&json!({"exp": NOW})), "expired"),
            ("expires next", &plain, saying(&json!({"exp": NOW + 1})), ""),
            ("exp is 1e300", &plain, saying(&json!({"exp": 1e300})), ""),
            ("exp is negative", &plain, saying(&json!({"exp": -1})), "exp"),
            ("exp is text", &plain, saying(&json!({"exp": "1700000600"})), "exp"),
            ("exp is null", &plain, saying(&json!({"exp": null})), "exp"),
            ("nbf is now", &plain, saying(&json!({"nbf": NOW})), ""),
            ("nbf is next", &plain, saying(&json!({"nbf": NOW + 1})), "nbf"),
            ("nbf is 1e300", &plain, saying(&json!({"nbf": 1e300})), "nbf"),
            ("iat is text", &plain, saying(&json!({"iat": "now"})), "iat"),
            ("sub is a list", &plain, saying(&json!({"sub": ["7"]})), "sub"),
            ("grants by place", &plain, saying(&json!({"fanfare": [[], [], true]})), "fanfare"),
            ("an unknown grant", &plain, saying(&json!({"fanfare": {"root": true}})), "root"),
        ],
        40,
    );
}

#[test]
fn a_key_that_no_algorithm_should_use_is_refused_with_its_file() {
    for (name, word) in [
        ("rsa1024.public.pem", "1024 bits"),
        ("es256k.public.pem", "unsupported kind"),
        ("es256.private.pem", "private key"),
        ("es256.sec1.pem", "private key"),
        ("tokens.json", "not a JWK set"),
        ("generate.py", "no public key"),
        ("nowhere", "cannot be read"),
    ] {
        let error = Authenticator::new(vec![with(&[name], |_| ())]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(word), "{error}");
    }
}
