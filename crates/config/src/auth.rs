//! Settings of authentication: `[auth]` and `[auth.jwt]`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use fanfare_auth::api_key::ApiKey;
use fanfare_auth::claim_name::ClaimName;
use fanfare_auth::claim_value::ClaimValue;
use fanfare_auth::grant_rule::GrantRule;
use fanfare_auth::key::Key;
use fanfare_auth::key_file::KeyFiles;
use fanfare_auth::remote_keys::RemoteSettings;
use fanfare_auth::template::Template;
use fanfare_auth::{Algorithms, IssuerSettings, secret};

use crate::callback::CallbackConfig;
use crate::check::{Checks, SECRET_FILE};
use crate::fetch_url;
use crate::secret::{Secret, Url as SecretUrl};
use crate::setting::settings;
use crate::value::choice;
use crate::{Config, certificate};

settings! {
    /// `[auth]`: whether requests need a token.
    pub struct AuthConfig = "auth", |config| config.auth => {
        /// `jwt`: every request needs a token. `callback`: the application says who a client is. `none`: every request may do
        /// everything. Required.
        mode: Option<AuthMode>;
        /// Name of the cookie that may carry the token. Checked after the header and the query.
        cookie: String = "fanfare_token";
        /// Further issuers: a list of tables, each with settings of `auth.jwt`. A token is verified by the issuer whose
        /// `issuer` is its `iss`.
        issuers: Vec<JwtConfig>;
        /// API keys of services: a list of tables, each with `name`, `sha256`, and what the key may do.
        keys: Vec<ApiKey>;
        /// Maximum number of revocations of tokens; when it is reached, further tokens cannot be revoked. Each takes about 100
        /// bytes of every node's memory.
        revocations: usize = "100000", in "1" to "10000000";
        /// Interval between reads of the revocations in Redis. A node reads them at once when another node announces one.
        revocation_interval: Duration = "1s", in "100ms" to "10s";
        /// Time in which a ticket must be used to open its stream.
        ticket_life: Duration = "30s", in "1s" to "10m";
        /// Longest time for which the stream of a ticket can be open or resumed. The expiry of the token that made the ticket
        /// counts if it is earlier.
        ticket_session: Duration = "1d", in "1m" to "31d";
        /// Interval between checks of the files with secrets and keys; changed ones are read without a restart.
        reload_interval: Duration = "1m", in "1ms" to "366d";
    }
    with {
        /// Verification of tokens: the first issuer.
        jwt: JwtConfig = JwtConfig::default();
        /// The application that is asked with `auth.mode = "callback"`.
        callback: CallbackConfig = CallbackConfig::default();
    }
}

settings! {
    /// `[auth.jwt]`: verification of the tokens of one issuer.
    pub struct JwtConfig = "auth.jwt", |config| config.auth.jwt => {
        /// Secret, at least 32 bytes: for HS256; with at least 48 bytes also for HS384, with at least 64 for HS512.
        secret: Option<Secret>;
        /// File with the secret, in place of `auth.jwt.secret`. One line ending at the end of the file is ignored.
        secret_file: Option<PathBuf>;
        /// Files with public keys: PEM (`PUBLIC KEY` or `CERTIFICATE`), a JWK set, which may contain secrets, or certificates by `kid`.
        key_files: Vec<String>;
        /// URL of the issuer's JWK set or of certificates by `kid`: `https`, or `http` on a loopback address.
        jwks_url: Option<SecretUrl>;
        /// Whether `auth.jwt.jwks_url` may be `http` on any host. An attacker on the network path can then issue tokens.
        jwks_http: bool = "false";
        /// PEM file with the certificates to trust in place of the system's, for `auth.jwt.jwks_url`.
        jwks_ca: Option<PathBuf>;
        /// Interval between fetches of the set; a shorter `Cache-Control: max-age` counts.
        jwks_refresh: Duration = "10m", in "1s" to "1d";
        /// Minimum time from one fetch to the next. A token with an unknown key waits for the next fetch.
        jwks_min_interval: Duration = "5s", in "100ms" to "10m";
        /// Timeout of a fetch.
        jwks_timeout: Duration = "5s", in "100ms" to "1m";
        /// Required value of a token's `iss`.
        issuer: Option<String>;
        /// Accepted values of a token's `aud`, of which it must have one. Without a value, `aud` is not checked.
        audience: Vec<String>;
        /// Claims that a token must have, with their values: `token_use=access`. Of a claim that is listed several times, it
        /// must have one of the values.
        required_claims: Vec<ClaimValue>;
        /// Accepted algorithms, as far as the key allows them. Default: all that the key allows.
        algorithms: Algorithms;
        /// Required `typ` of a token, like `at+jwt`. Default: none, `JWT` or `at+jwt`.
        typ: Option<String>;
        /// Claim that names the user: a name, or a path in nested claims like `/user/id`.
        user_claim: ClaimName = "sub";
        /// Claim with the grants: a name, or a path in nested claims like `/app/fanfare`.
        grants_claim: ClaimName = "fanfare";
        /// Patterns that every token of the issuer may subscribe to, with claims in braces: `team:{sub}:*`.
        subscribe: Vec<Template>;
        /// Patterns that every token of the issuer may publish to, with claims in braces: `team:{sub}:*`.
        publish: Vec<Template>;
        /// Patterns of finite streams that every token of the issuer may cancel, with claims in braces: `stream:{sub}/*`.
        cancel: Vec<Template>;
        /// Grants of tokens with certain claims: a list of tables with `claims`, and `subscribe`, `publish`, `cancel` or `admin`.
        grants: Vec<GrantRule>;
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
        /// The application says who a client is, and what it may do.
        Callback = "callback",
        /// Every request may do everything, and `?user=` names the user.
        None = "none",
    }
}

impl AuthConfig {
    /// Returns all issuers, each with the place of its settings: `auth.jwt` if it has a key, and `auth.issuers`.
    pub fn all_issuers(&self) -> impl Iterator<Item = (String, &JwtConfig)> {
        let first = self.jwt.has_keys().then(|| ("auth.jwt".to_owned(), &self.jwt));
        let further = self.issuers.iter().enumerate();
        first.into_iter().chain(further.map(|(index, jwt)| (format!("auth.issuers[{index}]"), jwt)))
    }

    /// Returns the longest life of a token, leeways included, after which its revocation is forgotten; `None` if tokens may
    /// live for ever.
    pub fn longest_token(&self) -> Option<Duration> {
        if self.mode == Some(AuthMode::Callback) {
            return Some(self.callback.max_lifetime);
        }
        let life = |jwt: &JwtConfig| {
            Some(jwt.max_lifetime).filter(|life| !life.is_zero()).map(|life| life + jwt.leeway * 3)
        };
        self.all_issuers()
            .map(|(_, jwt)| life(jwt))
            .try_fold(Duration::ZERO, |most, life| Some(most.max(life?)))
    }

    /// Returns the settings of all issuers for the verification of tokens.
    pub fn issuer_settings(&self) -> Vec<IssuerSettings> {
        self.all_issuers().map(|(place, jwt)| jwt.settings(place)).collect()
    }
}

impl JwtConfig {
    /// Returns whether a key is set to verify tokens with.
    fn has_keys(&self) -> bool {
        self.secret.is_some()
            || self.secret_file.is_some()
            || !self.key_files.is_empty()
            || self.jwks_url.is_some()
    }

    /// Returns the settings for the verification of tokens. `place` is the place of these settings, for errors.
    pub fn settings(&self, place: String) -> IssuerSettings {
        let in_settings = self.secret.as_ref().filter(|_| self.secret_file.is_none());
        IssuerSettings {
            place,
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: self.algorithms,
            typ: self.typ.clone(),
            user: self.user_claim.clone(),
            grants: self.grants_claim.clone(),
            required: self.required_claims.clone(),
            rules: self.rules(),
            leeway: self.leeway,
            max_lifetime: Some(self.max_lifetime).filter(|lifetime| !lifetime.is_zero()),
            // A checked secret is long enough.
            keys: in_settings
                .and_then(|secret| Key::secret(secret.expose().as_bytes()).ok())
                .into_iter()
                .collect(),
            files: self.files(),
            remote: self.jwks_url.as_ref().map(|url| RemoteSettings {
                url: url.expose().to_owned(),
                ca: self.jwks_ca.clone(),
                refresh: self.jwks_refresh,
                min_interval: self.jwks_min_interval,
                timeout: self.jwks_timeout,
            }),
        }
    }

    /// Returns the grants of every token, then those of tokens with certain claims.
    fn rules(&self) -> Vec<GrantRule> {
        let every = GrantRule {
            subscribe: self.subscribe.clone(),
            publish: self.publish.clone(),
            cancel: self.cancel.clone(),
            ..GrantRule::default()
        };
        std::iter::once(every).chain(self.grants.iter().cloned()).collect()
    }

    fn files(&self) -> KeyFiles {
        KeyFiles {
            secret: self.secret_file.clone(),
            keys: self.key_files.iter().map(PathBuf::from).collect(),
        }
    }

    /// Returns what is wrong with the settings, and reads the secret's file.
    fn check(&mut self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut fail = |settings, what: String, right| wrong.push(Wrong { settings, what, right });
        if self.secret.is_some() && self.secret_file.is_some() {
            let what = "the secret is set twice, as a value and as a file".to_owned();
            fail(&["auth.jwt.secret_file", "auth.jwt.secret"], what, "one of secret and secret_file");
        } else if let Some(file) = &self.secret_file {
            match secret::read(file) {
                Ok(text) => self.secret = Some(Secret::new(text)),
                Err(error) => fail(&["auth.jwt.secret_file"], error.to_string(), SECRET_FILE),
            }
        }
        if let Some(weak) = self.secret.as_ref().and_then(|secret| secret::weakness(secret.expose())) {
            let right = "at least 32 random bytes (openssl rand -hex 32)";
            fail(&["auth.jwt.secret", "auth.jwt.secret_file"], weak, right);
        }
        let keys = KeyFiles { secret: None, ..self.files() };
        if let Err(error) = keys.read() {
            let right =
                "readable files with public keys (PEM, BEGIN PUBLIC KEY or BEGIN CERTIFICATE) or a JWK set";
            fail(&["auth.jwt.key_files"], error.to_string(), right);
        }
        if let Some(what) =
            self.jwks_url.as_ref().and_then(|url| fetch_url::wrong(url.expose(), self.jwks_http))
        {
            let right =
                "an https URL without a user, or an http URL on a loopback address (or jwks_http = true)";
            fail(&["auth.jwt.jwks_url", "auth.jwt.jwks_http"], what.to_owned(), right);
        }
        if let Some(Err(error)) = self.jwks_ca.as_deref().map(certificate::certificates) {
            let right = "a PEM file with certificates that this process may read";
            fail(&["auth.jwt.jwks_ca"], error.to_string(), right);
        }
        if self.jwks_refresh < self.jwks_min_interval {
            let what = "the interval between fetches is less than the minimum".to_owned();
            let right = "jwks_refresh at least as long as jwks_min_interval";
            fail(&["auth.jwt.jwks_refresh", "auth.jwt.jwks_min_interval"], what, right);
        }
        if self.algorithms.is_empty() {
            fail(
                &["auth.jwt.algorithms"],
                "the list is empty".to_owned(),
                "one or more algorithms, like ES256",
            );
        }
        wrong
    }
}

/// What is wrong with the settings of an issuer.
struct Wrong {
    /// The settings, by their names in `auth.jwt`: the first is wrong, or contradicts the others.
    settings: &'static [&'static str],
    what: String,
    right: &'static str,
}

/// Checks the settings of authentication, and reads the secrets' files.
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
    if auth.mode == Some(AuthMode::Callback) {
        auth.callback.check(checks);
    }
    if auth.mode != Some(AuthMode::None) {
        check_keys(auth, checks);
    }
    if auth.mode != Some(AuthMode::Jwt) {
        return;
    }
    if auth.jwt.has_keys() {
        for Wrong { settings, what, right } in auth.jwt.check() {
            checks.fail(settings, &what, right);
        }
    } else if auth.issuers.is_empty() && auth.keys.is_empty() {
        checks.fail(
            &["auth.jwt.secret", "auth.jwt.secret_file", "auth.jwt.key_files", "auth.jwt.jwks_url", "auth.issuers", "auth.keys"],
            "auth.mode is jwt, but no secret and no key is set to verify tokens with",
            "auth.jwt.secret or auth.jwt.secret_file, with at least 32 random bytes (openssl rand -hex 32); or \
             auth.jwt.key_files or auth.jwt.jwks_url, with the public keys of the issuer",
        );
    } else if let Some(name) =
        JwtConfig::SETTINGS.iter().map(|setting| setting.name).find(|name| checks.is_given(name))
    {
        checks.fail(
            &[name],
            "auth.jwt has no key, so this setting has no effect",
            "a secret, key_files or jwks_url in [auth.jwt], or the setting in an entry of auth.issuers",
        );
    }
    check_entries(auth, checks);
}

/// Checks that each API key has one entry.
fn check_keys(auth: &AuthConfig, checks: &mut Checks<'_>) {
    let hashes: HashSet<_> = auth.keys.iter().map(|key| key.hash.to_string()).collect();
    checks.hold(
        hashes.len() == auth.keys.len(),
        &["auth.keys"],
        "two entries have the same sha256",
        "a different key for each entry (fanfare key)",
    );
}

/// Checks the entries of `auth.issuers`, and that each token has one issuer.
fn check_entries(auth: &mut AuthConfig, checks: &mut Checks<'_>) {
    const LIST: &str = "auth.issuers";
    for (index, entry) in auth.issuers.iter_mut().enumerate() {
        if !entry.has_keys() {
            let right = "secret, secret_file, key_files or jwks_url in each entry";
            checks.fail_in_list(LIST, &format!("entry {index} has no key to verify tokens with"), right);
        }
        for Wrong { settings, what, right } in entry.check() {
            let setting = settings[0].trim_start_matches("auth.jwt.");
            checks.fail_in_list(LIST, &format!("{setting} of entry {index}: {what}"), right);
        }
    }
    let mut names: Vec<_> = auth.all_issuers().map(|(_, jwt)| jwt.issuer.clone()).collect();
    names.sort();
    if let Some((twice, _)) = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one == next) {
        let what = match twice {
            Some(name) => format!("two issuers have the issuer {name}"),
            None => "two issuers have no issuer".to_owned(),
        };
        let right =
            "a different issuer (iss) for each, so that a token has one; one entry can have several keys";
        checks.fail_in_list(LIST, &what, right);
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}
