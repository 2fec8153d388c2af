//! One issuer: its keys, and what its tokens must say.

use std::sync::Arc;
use std::time::SystemTime;

use fanfare_protocol::{Grants, User};

use crate::claim_value;
use crate::claims::Claims;
use crate::error::TokenError;
use crate::identity::Identity;
use crate::key::Key;
use crate::key_file::{FileKeys, KeyFileError};
use crate::key_ring::{KeyRing, Unverified};
use crate::remote_keys::RemoteKeys;
use crate::remote_keys::refresh::Refresh;
use crate::remote_keys::source::SourceError;
use crate::settings::IssuerSettings;
use crate::token::Token;

/// Why a token is not valid by the keys that are there.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The token is not valid.
    Final(TokenError),
    /// The token may have a key that is not fetched yet.
    UnknownKey(TokenError),
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::Final(error)
    }
}

impl From<Refusal> for TokenError {
    fn from((Refusal::Final(error) | Refusal::UnknownKey(error)): Refusal) -> Self {
        error
    }
}

/// An issuer. Lives as long as the node.
#[derive(Debug)]
pub struct Issuer {
    settings: IssuerSettings,
    keys: KeyRing,
    /// Hash of the key files at the start.
    mark: u64,
}

impl Issuer {
    /// Creates an issuer, with the keys in its settings and in their files.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be used.
    pub(crate) fn new(settings: IssuerSettings) -> Result<Self, KeyFileError> {
        let FileKeys { keys, mark } = settings.files.read()?;
        let remote = settings.remote.as_ref().map(|remote| Arc::new(RemoteKeys::new(remote)));
        let issuer = Self { settings, keys: KeyRing::new(remote), mark };
        issuer.use_files(keys);
        Ok(issuer)
    }

    /// Returns the settings.
    pub fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// Returns the hash of the key files at the start.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// Replaces the keys of the files.
    pub fn use_files(&self, keys: Vec<Key>) {
        self.keys.replace(self.settings.keys.iter().cloned().chain(keys).collect());
    }

    /// Returns whether the issuer is that of a token with these claims.
    pub(crate) fn is_named_by(&self, claims: &Claims<'_>) -> bool {
        self.settings.issuer.as_deref().is_some_and(|issuer| claims.is_of(issuer))
    }

    /// Returns the task that fetches the keys of the URL; `None` without a URL.
    ///
    /// # Errors
    ///
    /// Fails if the URL or the trusted certificates cannot be used.
    pub(crate) fn refresh(&self) -> Result<Option<Refresh>, SourceError> {
        let Some((keys, settings)) = self.keys.remote().zip(self.settings.remote.as_ref()) else {
            return Ok(None);
        };
        Refresh::new(Arc::clone(keys), settings.clone(), self.settings.place.clone()).map(Some)
    }

    /// Returns whether the issuer has keys: those of the URL were fetched once, if it has a URL.
    pub(crate) fn is_ready(&self) -> bool {
        self.keys.remote().is_none_or(|remote| remote.is_ready())
    }

    /// Verifies a token, and waits for a fetch of keys if the token may have a new one.
    ///
    /// # Errors
    ///
    /// Fails if it is not valid, or if the keys cannot be fetched.
    pub(crate) async fn authenticate(
        &self,
        token: &Token<'_>,
        now: SystemTime,
    ) -> Result<Identity, TokenError> {
        let error = match self.check(token, now) {
            Ok(identity) => return Ok(identity),
            Err(Refusal::Final(error)) => return Err(error),
            Err(Refusal::UnknownKey(error)) => error,
        };
        let Some(remote) = self.keys.remote() else { return Err(error) };
        if !remote.refreshed().await {
            return Err(TokenError::NoKeys);
        }
        Ok(self.check(token, now)?)
    }

    /// Verifies a token by the keys that are there: the signature, then what it says.
    ///
    /// # Errors
    ///
    /// Fails if it is not valid.
    pub(crate) fn check(&self, token: &Token<'_>, now: SystemTime) -> Result<Identity, Refusal> {
        let settings = &self.settings;
        token.header.check_type(settings.typ.as_deref()).map_err(TokenError::Invalid)?;
        self.keys.verify(token, settings.algorithms).map_err(|Unverified { mismatch, may_be_new }| {
            let error = TokenError::Invalid(mismatch.reason(token));
            if may_be_new { Refusal::UnknownKey(error) } else { Refusal::Final(error) }
        })?;
        let claims = Claims::read(&token.claims).map_err(TokenError::Invalid)?;
        self.check_parties(&claims).map_err(TokenError::Invalid)?;
        let user = claims.user(&settings.user).map_err(TokenError::Invalid)?;
        let expires = self.check_times(&claims, &user, now)?;
        let grants = self.grants(&claims).map_err(TokenError::Invalid)?;
        let stamp = claims.stamp().map_err(TokenError::Invalid)?;
        Ok(Identity { user, grants, expires, stamp })
    }

    /// Checks `iss`, `aud` and the required claims.
    fn check_parties(&self, claims: &Claims<'_>) -> Result<(), String> {
        let IssuerSettings { place, issuer, audience, required, .. } = &self.settings;
        if issuer.as_deref().is_some_and(|issuer| !claims.is_of(issuer)) {
            return Err(format!("its iss is not {place}.issuer"));
        }
        if !audience.is_empty() && !claims.audience()?.iter().any(|aud| audience.contains(aud)) {
            return Err(format!("its aud is not {place}.audience"));
        }
        if let Some(name) = claim_value::first_missing(required, claims) {
            return Err(format!("its {name} is not that of {place}.required_claims"));
        }
        Ok(())
    }

    /// Checks `exp`, `nbf` and the lifetime, and returns the expiry.
    fn check_times(
        &self,
        claims: &Claims<'_>,
        user: &User,
        now: SystemTime,
    ) -> Result<SystemTime, TokenError> {
        let IssuerSettings { place, leeway, max_lifetime, .. } = &self.settings;
        let expires = claims.expiry().map_err(TokenError::Invalid)? + *leeway;
        if now >= expires {
            let id = claims.stamp().ok().and_then(|stamp| stamp.id);
            return Err(TokenError::Expired { user: user.clone(), id });
        }
        if claims.begin().map_err(TokenError::Invalid)?.is_some_and(|begins| begins > now + *leeway) {
            return Err(TokenError::Invalid("it is not valid yet (nbf)".to_owned()));
        }
        let issued = claims.issued().map_err(TokenError::Invalid)?;
        if let Some(most) = *max_lifetime {
            // Without `iat`, the token was issued now at the latest.
            let begins = issued.map_or(now, |issued| issued.min(now));
            if expires.duration_since(begins).is_ok_and(|lifetime| lifetime > most + *leeway * 2) {
                let most = humantime::format_duration(most);
                let reason = format!("its lifetime exceeds {most} ({place}.max_lifetime)");
                return Err(TokenError::Invalid(reason));
            }
        }
        Ok(expires)
    }

    /// Returns the grants of the token's claim and of the settings.
    fn grants(&self, claims: &Claims<'_>) -> Result<Grants, String> {
        let mut grants = claims.grants(&self.settings.grants)?;
        for rule in &self.settings.rules {
            rule.apply(claims, &mut grants)?;
        }
        Ok(grants)
    }
}

#[cfg(test)]
mod tests;
