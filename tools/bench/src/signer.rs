//! What signs the tokens of streams.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fanfare_testkit::key_pair::KeyPair;
use fanfare_testkit::token::Token;
use serde_json::json;

/// How long a token is valid: longer than any measurement takes.
const LIFETIME: Duration = Duration::from_hours(1);

/// Signs tokens with a secret or a private key.
#[derive(Clone, Debug)]
pub enum Signer {
    /// HS256 with this secret.
    Secret(String),
    /// The algorithm of this key.
    Key(Arc<KeyPair>),
}

impl Signer {
    /// Returns a token of a user, without grants.
    pub fn token(&self, user: &str) -> String {
        match self {
            Self::Secret(secret) => Token::of(user).secret(secret).expires_in(LIFETIME).sign(),
            Self::Key(key) => {
                let expires = SystemTime::now() + LIFETIME;
                let expires = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
                key.sign_with(&json!({"typ": "JWT"}), &json!({"sub": user, "exp": expires}))
            }
        }
    }
}
