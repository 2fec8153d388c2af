//! Settings of authentication: `[auth]` and `[auth.jwt]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::Config;
use crate::check::Checks;
use crate::secret::Secret;
use crate::setting::settings;
use crate::value::choice;

settings! {
    /// `[auth]`: whether requests need a token.
    pub struct AuthConfig = "auth", |config| config.auth => {
        /// `jwt`: every request needs a token. `none`: every request may do everything. Required.
        mode: Option<AuthMode>;
        /// Name of the cookie that may carry the token. Checked after the header and the query.
        cookie: String = "fanfare_token";
    }
    with {
        /// Verification of tokens.
        jwt: JwtConfig = JwtConfig::default();
    }
}

settings! {
    /// `[auth.jwt]`: verification of tokens.
    pub struct JwtConfig = "auth.jwt", |config| config.auth.jwt => {
        /// HS256 secret, at least 32 bytes.
        secret: Option<Secret>;
        /// File with the secret, in place of `auth.jwt.secret`. One line ending at the end of the file is ignored.
        secret_file: Option<PathBuf>;
        /// Required value of a token's `iss`.
        issuer: Option<String>;
        /// Required value of a token's `aud`, or one of its values.
        audience: Option<String>;
        /// Tolerated clock difference between the token issuer and the node.
        leeway: Duration = "5s", in "0s" to "1h";
        /// Maximum lifetime of a token, from its `iat` (or else from now) to its `exp`; `0s` disables the limit.
        max_lifetime: Duration = "366d", in "0s" to "366d";
    }
}

choice! {
    /// Whether requests need a token.
    pub enum AuthMode {
        /// Every request needs a token.
        Jwt = "jwt",
        /// Every request may do everything, and `?user=` names the user.
        None = "none",
    }
}

/// Checks the settings of authentication, and reads the secret's file.
pub(crate) fn check(config: &mut Config, checks: &mut Checks<'_>) {
    let auth = &mut config.auth;
    checks.hold(
        auth.mode.is_some(),
        &["auth.mode"],
        "auth.mode is not set",
        "--auth jwt and auth.jwt.secret, so that every request needs a token; or --auth none, so that every request \
         may do everything",
    );
    checks.hold(
        is_token(&auth.cookie),
        &["auth.cookie"],
        "invalid cookie name",
        "letters, digits, '_', '-' and '.'",
    );
    if auth.mode != Some(AuthMode::Jwt) {
        return;
    }
    let (secret, file) = (&auth.jwt.secret, &auth.jwt.secret_file);
    checks.hold(
        secret.is_none() || file.is_none(),
        &["auth.jwt.secret_file", "auth.jwt.secret"],
        "the secret is set twice, as a value and as a file",
        "one of auth.jwt.secret and auth.jwt.secret_file",
    );
    checks.hold(
        secret.is_some() || file.is_some(),
        &["auth.jwt.secret", "auth.jwt.secret_file"],
        "auth.mode is jwt, but no secret is set to verify tokens with",
        "auth.jwt.secret or auth.jwt.secret_file, with at least 32 random bytes (openssl rand -hex 32)",
    );
    if let (None, Some(file)) = (secret, file) {
        auth.jwt.secret = checks.secret_in("auth.jwt.secret_file", file);
    }
    if let Some(weak) = auth.jwt.secret.as_ref().and_then(Secret::weakness) {
        checks.fail(
            &["auth.jwt.secret", "auth.jwt.secret_file"],
            &weak,
            "at least 32 random bytes (openssl rand -hex 32)",
        );
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}
