//! What `--auth jwt` asks for.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::node::SECRET;

/// How a token is signed: with a secret.
#[derive(Clone, Copy, Debug)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

/// A token to be signed.
#[derive(Clone, Debug)]
pub struct Token {
    claims: Map<String, Value>,
    grants: Map<String, Value>,
    /// The header's `typ`; none is left out.
    typ: Option<String>,
    secret: String,
    algorithm: Algorithm,
}

impl Token {
    /// A token of a user, good for an hour, without grants.
    pub fn of(user: &str) -> Self {
        let mut claims = Map::new();
        claims.insert("sub".into(), user.into());
        let (secret, typ) = (SECRET.to_owned(), Some("JWT".to_owned()));
        let token = Self { claims, grants: Map::new(), typ, secret, algorithm: Algorithm::HS256 };
        token.expires_in(Duration::from_hours(1))
    }

    /// May follow these.
    #[must_use]
    pub fn subscribe(mut self, patterns: &[&str]) -> Self {
        self.grants.insert("subscribe".into(), json!(patterns));
        self
    }

    /// May publish to these.
    #[must_use]
    pub fn publish(mut self, patterns: &[&str]) -> Self {
        self.grants.insert("publish".into(), json!(patterns));
        self
    }

    /// May do everything.
    #[must_use]
    pub fn admin(mut self) -> Self {
        self.grants.insert("admin".into(), true.into());
        self
    }

    /// Good from now on for so long, in whole seconds.
    #[must_use]
    pub fn expires_in(self, time: Duration) -> Self {
        let expires = (SystemTime::now() + time).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.claim("exp", expires.as_secs())
    }

    /// Any claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Without a claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Any grant.
    #[must_use]
    pub fn grant(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.grants.insert(name.to_owned(), value.into());
        self
    }

    /// Signed with another secret than the node's.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    /// Signed with another secret or algorithm than the node's.
    #[must_use]
    pub fn signed_with(mut self, secret: &str, algorithm: Algorithm) -> Self {
        secret.clone_into(&mut self.secret);
        self.algorithm = algorithm;
        self
    }

    /// Of another kind, as its header says.
    #[must_use]
    pub fn typ(mut self, typ: Option<&str>) -> Self {
        self.typ = typ.map(str::to_owned);
        self
    }

    /// The token's text.
    pub fn sign(mut self) -> String {
        if !self.grants.is_empty() {
            self.claims.insert("fanfare".into(), self.grants.into());
        }
        let mut header = json!({ "alg": format!("{:?}", self.algorithm) });
        if let Some(typ) = self.typ {
            header["typ"] = typ.into();
        }
        let [header, claims] =
            [header, self.claims.into()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        signed(&format!("{header}.{claims}"), &self.secret, self.algorithm)
    }
}

/// Header and claims as they are encoded, with their signature.
pub fn signed(text: &str, secret: &str, algorithm: Algorithm) -> String {
    let hash = match algorithm {
        Algorithm::HS256 => hmac::HMAC_SHA256,
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
    };
    let signature = hmac::sign(&hmac::Key::new(hash, secret.as_bytes()), text.as_bytes());
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts() {
        assert_eq!(Token::of("7").subscribe(&["room:*"]).admin().sign().split('.').count(), 3);
    }
}
