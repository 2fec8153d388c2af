//! What `--auth jwt` asks for.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use crate::node::SECRET;

/// A token to be signed.
#[derive(Clone, Debug)]
pub struct Token {
    claims: Map<String, Value>,
    grants: Map<String, Value>,
    secret: String,
    algorithm: Algorithm,
}

impl Token {
    /// A token of a user, good for an hour, without grants.
    pub fn of(user: &str) -> Self {
        let mut claims = Map::new();
        claims.insert("sub".into(), user.into());
        let token =
            Self { claims, grants: Map::new(), secret: SECRET.to_owned(), algorithm: Algorithm::HS256 };
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

    /// Signed with another secret or algorithm than the node's.
    #[must_use]
    pub fn signed_with(mut self, secret: &str, algorithm: Algorithm) -> Self {
        secret.clone_into(&mut self.secret);
        self.algorithm = algorithm;
        self
    }

    /// The token's text.
    ///
    /// # Panics
    ///
    /// When it cannot be signed.
    pub fn sign(mut self) -> String {
        if !self.grants.is_empty() {
            self.claims.insert("fanfare".into(), self.grants.into());
        }
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        encode(&Header::new(self.algorithm), &self.claims, &key).expect("plain claims can be signed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts() {
        assert_eq!(Token::of("7").subscribe(&["room:*"]).admin().sign().split('.').count(), 3);
    }
}
