//! One issuer: its keys, and what its tokens must say.

use std::time::SystemTime;

use fanfare_protocol::Grants;

use crate::claims::Claims;
use crate::error::TokenError;
use crate::identity::Identity;
use crate::key::Key;
use crate::key_file::{FileKeys, KeyFileError};
use crate::key_ring::KeyRing;
use crate::settings::IssuerSettings;
use crate::token::Token;

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
        let issuer = Self { settings, keys: KeyRing::new(), mark };
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

    /// Verifies a token: the signature, then what it says.
    ///
    /// # Errors
    ///
    /// Fails if it is not valid.
    pub(crate) fn check(&self, token: &Token<'_>, now: SystemTime) -> Result<Identity, TokenError> {
        let settings = &self.settings;
        token.header.check_type(settings.typ.as_deref()).map_err(TokenError::Invalid)?;
        self.keys
            .verify(token, settings.algorithms)
            .map_err(|mismatch| TokenError::Invalid(mismatch.reason(token)))?;
        let claims = Claims::read(&token.claims).map_err(TokenError::Invalid)?;
        self.check_parties(&claims).map_err(TokenError::Invalid)?;
        let user = claims.user(&settings.user).map_err(TokenError::Invalid)?;
        let expires = self.check_times(&claims, now)?;
        let grants = self.grants(&claims).map_err(TokenError::Invalid)?;
        Ok(Identity { user, grants, expires })
    }

    /// Checks `iss` and `aud`.
    fn check_parties(&self, claims: &Claims<'_>) -> Result<(), String> {
        let IssuerSettings { place, issuer, audience, .. } = &self.settings;
        if issuer.as_deref().is_some_and(|issuer| !claims.is_of(issuer)) {
            return Err(format!("its iss is not {place}.issuer"));
        }
        if !audience.is_empty() && !claims.audience()?.iter().any(|aud| audience.contains(aud)) {
            return Err(format!("its aud is not {place}.audience"));
        }
        Ok(())
    }

    /// Checks `exp`, `nbf` and the lifetime, and returns the expiry.
    fn check_times(&self, claims: &Claims<'_>, now: SystemTime) -> Result<SystemTime, TokenError> {
        let IssuerSettings { place, leeway, max_lifetime, .. } = &self.settings;
        let expires = claims.expiry().map_err(TokenError::Invalid)? + *leeway;
        if now >= expires {
            return Err(TokenError::Expired);
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

    /// Returns the grants of the token's claim and of the templates.
    fn grants(&self, claims: &Claims<'_>) -> Result<Grants, String> {
        let IssuerSettings { grants, subscribe, publish, .. } = &self.settings;
        let mut grants = claims.grants(grants)?;
        for template in subscribe {
            grants.subscribe.extend(template.expand(claims)?);
        }
        for template in publish {
            grants.publish.extend(template.expand(claims)?);
        }
        Ok(grants)
    }
}

#[cfg(test)]
mod tests;
