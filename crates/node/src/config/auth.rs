//! Settings of who may do what: `[auth]` and `[auth.jwt]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::Secret;

/// The shortest HS256 secret, in bytes: as long as the hash (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// `[auth]`: whether tokens are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// `jwt` or `none`. There is no default: a node that lets everybody in must have been told so.
    /// `FANFARE_AUTH__MODE`.
    pub mode: Option<AuthMode>,
    /// The cookie in which a token is looked for last. `FANFARE_AUTH__COOKIE`.
    pub cookie: String,
    /// How tokens are checked.
    pub jwt: JwtConfig,
}

/// Whether tokens are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Every request carries a token.
    Jwt,
    /// Everybody may do everything, and `?user=` names the user.
    None,
}

/// `[auth.jwt]`: how tokens are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// The HS256 secret, at least 32 bytes. `FANFARE_AUTH__JWT__SECRET`.
    pub secret: Option<Secret>,
    /// A file that holds the secret instead; one line ending at its end is left out.
    /// `FANFARE_AUTH__JWT__SECRET_FILE`.
    pub secret_file: Option<PathBuf>,
    /// What a token's `iss` must be, if set. `FANFARE_AUTH__JWT__ISSUER`.
    pub issuer: Option<String>,
    /// What a token's `aud` must be or contain, if set. `FANFARE_AUTH__JWT__AUDIENCE`.
    pub audience: Option<String>,
    /// How far the clock of who makes the tokens may be off. `FANFARE_AUTH__JWT__LEEWAY`.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// How long a token may be good, from its `iat` or else from now to its `exp`; `0s` is no limit.
    /// `FANFARE_AUTH__JWT__MAX_LIFETIME`.
    #[serde(with = "humantime_serde")]
    pub max_lifetime: Duration,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { mode: None, cookie: "fanfare_token".to_owned(), jwt: JwtConfig::default() }
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            secret: None,
            secret_file: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(5),
            max_lifetime: Duration::from_hours(366 * 24),
        }
    }
}
