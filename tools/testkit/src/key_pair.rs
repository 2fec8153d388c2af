//! A key that signs tokens, and its public part as a JWK.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

/// An RSA key of 2048 bits: it takes long to make one. It is public, and nothing but tests may use it.
const RSA: &str = include_str!("rsa.pem");
/// What precedes the point of a P-256 key in its `SubjectPublicKeyInfo` (RFC 5480).
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key with a `kid`, for ES256 or RS256.
#[derive(Debug)]
pub struct KeyPair {
    id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    P256(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl KeyPair {
    /// Makes a P-256 key.
    ///
    /// # Panics
    ///
    /// When there are no random numbers.
    pub fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).expect("random numbers");
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).expect("our own key");
        Self { id: id.to_owned(), pair: Pair::P256(Box::new(pair)) }
    }

    /// The RSA key of the tests, always the same.
    ///
    /// # Panics
    ///
    /// When its file is not one.
    pub fn rsa(id: &str) -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(RSA.as_bytes()).expect("a key in PEM");
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("an RSA key");
        Self { id: id.to_owned(), pair: Pair::Rsa(Box::new(pair)) }
    }

    /// The `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::P256(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// The public key.
    pub fn jwk(&self) -> Value {
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let mut jwk = match &self.pair {
            Pair::P256(pair) => {
                // A byte for the form, then both coordinates.
                let point = &pair.public_key().as_ref()[1..];
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[..32]), "y": encode(&point[32..])})
            }
            Pair::Rsa(pair) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = pair.public().into();
                json!({"kty": "RSA", "n": encode(&n), "e": encode(&e)})
            }
        };
        jwk["kid"] = self.id.as_str().into();
        jwk["alg"] = self.algorithm().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The public key in PEM.
    ///
    /// # Panics
    ///
    /// When it is not a P-256 key.
    pub fn public_pem(&self) -> String {
        let Pair::P256(pair) = &self.pair else { panic!("only P-256 keys have a PEM here") };
        let info = BASE64_STANDARD.encode([&P256_INFO, pair.public_key().as_ref()].concat());
        let lines: Vec<_> = info.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// A token with these claims.
    ///
    /// # Panics
    ///
    /// When there are no random numbers.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({}), claims)
    }

    /// A token with these claims, and these members of the header besides `alg` and `kid`.
    ///
    /// # Panics
    ///
    /// When there are no random numbers, or the header is not an object.
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let mut header = header.clone();
        header["alg"] = self.algorithm().into();
        header["kid"] = self.id.as_str().into();
        let [header, claims] = [&header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = format!("{header}.{claims}");
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(self.signature(text.as_bytes())))
    }

    fn signature(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::P256(pair) => pair.sign(&random, text).expect("random numbers").as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).expect("random numbers");
                signature
            }
        }
    }
}

/// A set of these keys.
pub fn jwk_set(keys: &[&KeyPair]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}
