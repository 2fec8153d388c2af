//! Settings of an issuer.

use std::time::Duration;

use crate::algorithm::Algorithms;
use crate::claim_name::ClaimName;
use crate::claim_value::ClaimValue;
use crate::grant_rule::GrantRule;
use crate::key::Key;
use crate::key_file::KeyFiles;
use crate::remote_keys::RemoteSettings;

/// Settings of an issuer: its keys, and what its tokens must say.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// The place of the settings, like `auth.jwt`, which errors name.
    pub place: String,
    /// The `iss` of the issuer's tokens. Without it, the issuer is that of every token whose `iss` no other issuer has.
    pub issuer: Option<String>,
    /// Accepted values of `aud`, of which a token must have one. If empty, `aud` is not checked.
    pub audience: Vec<String>,
    /// Claims that a token must have: of each claim one of the values.
    pub required: Vec<ClaimValue>,
    /// Algorithms that are accepted, as far as the key allows them.
    pub algorithms: Algorithms,
    /// Required `typ`.
    pub typ: Option<String>,
    /// The claim that names the user.
    pub user: ClaimName,
    /// The claim with grants.
    pub grants: ClaimName,
    /// Grants of tokens, besides those of the claim.
    pub rules: Vec<GrantRule>,
    /// Tolerated clock difference.
    pub leeway: Duration,
    /// Maximum lifetime of a token; `None` for no limit.
    pub max_lifetime: Option<Duration>,
    /// Keys in the settings.
    pub keys: Vec<Key>,
    /// Files with keys.
    pub files: KeyFiles,
    /// URL with keys.
    pub remote: Option<RemoteSettings>,
}

impl IssuerSettings {
    /// Returns the settings of an issuer without keys, whose tokens have the claims `sub` and `fanfare` and may live for
    /// ever.
    pub fn new(place: &str) -> Self {
        let claim = |name| ClaimName::new(name).expect("a name");
        Self {
            place: place.to_owned(),
            issuer: None,
            audience: Vec::new(),
            required: Vec::new(),
            algorithms: Algorithms::ALL,
            typ: None,
            user: claim("sub"),
            grants: claim("fanfare"),
            rules: Vec::new(),
            leeway: Duration::ZERO,
            max_lifetime: None,
            keys: Vec::new(),
            files: KeyFiles::default(),
            remote: None,
        }
    }
}
