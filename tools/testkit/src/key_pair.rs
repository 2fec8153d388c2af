//! A key that signs tokens, and its public part as a JWK.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// A P-256 key with a `kid`.
#[derive(Debug)]
pub struct KeyPair {
    id: String,
    pair: EcdsaKeyPair,
}

impl KeyPair {
    /// Makes a key.
    ///
    /// # Panics
    ///
    /// When there are no random numbers.
    pub fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).expect("random numbers");
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).expect("our own key");
        Self { id: id.to_owned(), pair }
    }

    /// The `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key.
    pub fn jwk(&self) -> Value {
        // A byte for the form, then both coordinates.
        let point = &self.pair.public_key().as_ref()[1..];
        let [x, y] = [&point[..32], &point[32..]].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": self.id, "alg": "ES256", "use": "sig"})
    }

    /// A token of ES256 with these claims.
    ///
    /// # Panics
    ///
    /// When there are no random numbers.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.id});
        let [header, claims] = [&header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = format!("{header}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).expect("random numbers");
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A set of these keys.
pub fn jwk_set(keys: &[&KeyPair]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}
