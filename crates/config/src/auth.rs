//! Settings of authentication: `[auth]` and `[auth.jwt]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Minimum length of an HS256 secret, in bytes: as long as the hash (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// `[auth]`: whether requests need a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// `jwt`: every request needs a token. `none`: every request may do everything. Required. `FANFARE_AUTH__MODE`.
    pub mode: Option<AuthMode>,
    /// Name of the cookie that may carry the token. Checked after the header and the query. Default: `fanfare_token`.
    /// `FANFARE_AUTH__COOKIE`.
    pub cookie: String,
    /// Verification of tokens.
    pub jwt: JwtConfig,
}

/// Whether requests need a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Every request needs a token.
    Jwt,
    /// Every request may do everything, and `?user=` names the user.
    None,
}

/// `[auth.jwt]`: verification of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// HS256 secret, at least 32 bytes. `FANFARE_AUTH__JWT__SECRET`.
    pub secret: Option<Secret>,
    /// File with the secret, in place of `auth.jwt.secret`. One line ending at the end of the file is ignored.
    /// `FANFARE_AUTH__JWT__SECRET_FILE`.
    pub secret_file: Option<PathBuf>,
    /// Required value of a token's `iss`. `FANFARE_AUTH__JWT__ISSUER`.
    pub issuer: Option<String>,
    /// Required value of a token's `aud`, or one of its values. `FANFARE_AUTH__JWT__AUDIENCE`.
    pub audience: Option<String>,
    /// Tolerated clock difference between the token issuer and the node. Default: `5s`. `FANFARE_AUTH__JWT__LEEWAY`.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
    /// Maximum lifetime of a token, from its `iat` (or else from now) to its `exp`; `0s` disables the limit. Default:
    /// `366d`. `FANFARE_AUTH__JWT__MAX_LIFETIME`.
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
