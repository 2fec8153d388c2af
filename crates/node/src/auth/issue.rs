//! Creation of tokens, for tests and scripts; in production, the application's login creates them.

use std::time::{Duration, SystemTime};

use fanfare_config::auth::JwtConfig;
use fanfare_protocol::{Grants, User};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// Claims of a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The user: `sub`.
    pub user: User,
    /// The permissions: `fanfare`.
    pub grants: Grants,
    /// The lifetime, from now.
    pub ttl: Duration,
}

/// Why a token cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The settings have no secret.
    #[error("no secret is set to sign with (auth.jwt.secret or auth.jwt.secret_file)")]
    NoSecret,
    /// The expiry is out of range.
    #[error("the token's lifetime is too long")]
    TooLong,
    /// Nodes with these settings would refuse the token.
    #[error(
        "the token's lifetime exceeds {} (auth.jwt.max_lifetime); nodes would not accept it",
        humantime::format_duration(*.0)
    )]
    Lifetime(Duration),
    /// Signing failed.
    #[error("failed to sign the token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    fanfare: &'a Grants,
}

impl NewToken {
    /// Returns the signed token, which a node with these settings accepts.
    ///
    /// # Errors
    ///
    /// Fails if no secret is set, or if a node would refuse the token's lifetime.
    pub fn sign(&self, config: &JwtConfig, now: SystemTime) -> Result<String, IssueError> {
        let secret = config.secret.as_ref().ok_or(IssueError::NoSecret)?;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if !config.max_lifetime.is_zero() && self.ttl > config.max_lifetime {
            return Err(IssueError::Lifetime(config.max_lifetime));
        }
        let until = now.checked_add(self.ttl).ok_or(IssueError::TooLong)?;
        let claims = Claims {
            sub: self.user.id(),
            iat: now.as_secs(),
            exp: until.as_secs(),
            iss: config.issuer.as_deref(),
            aud: config.audience.as_deref(),
            fanfare: &self.grants,
        };
        super::hmac::install();
        let key = EncodingKey::from_secret(secret.expose().as_bytes());
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &key)?)
    }
}
