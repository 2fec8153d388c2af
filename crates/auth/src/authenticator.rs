//! All issuers: the one that a token names verifies it.

use std::time::SystemTime;

use crate::claims::Claims;
use crate::error::TokenError;
use crate::identity::Identity;
use crate::issuer::Issuer;
use crate::key_file::KeyFileError;
use crate::remote_keys::refresh::Refresh;
use crate::remote_keys::source::SourceError;
use crate::settings::IssuerSettings;
use crate::token::Token;

/// Verifies tokens of all issuers. Lives as long as the node.
#[derive(Debug)]
pub struct Authenticator {
    /// At most one without a name.
    issuers: Vec<Issuer>,
}

impl Authenticator {
    /// Creates the issuers and reads their key files.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be used.
    pub fn new(issuers: Vec<IssuerSettings>) -> Result<Self, KeyFileError> {
        Ok(Self { issuers: issuers.into_iter().map(Issuer::new).collect::<Result<_, _>>()? })
    }

    /// Returns the issuers, in the order of the settings.
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// Returns the tasks that fetch the keys of URLs. Each must run as long as tokens are verified.
    ///
    /// # Errors
    ///
    /// Fails if a URL or its trusted certificates cannot be used.
    pub fn refreshes(&self) -> Result<Vec<Refresh>, SourceError> {
        self.issuers.iter().filter_map(|issuer| issuer.refresh().transpose()).collect()
    }

    /// Returns an issuer whose keys have not been fetched yet, if there is one.
    pub fn without_keys(&self) -> Option<&Issuer> {
        self.issuers.iter().find(|issuer| !issuer.is_ready())
    }

    /// Verifies a token, and waits for a fetch of keys if the token may have a new one.
    ///
    /// # Errors
    ///
    /// Fails if it is not valid, or if its keys cannot be fetched.
    pub async fn authenticate(&self, token: &str, now: SystemTime) -> Result<Identity, TokenError> {
        let token = Token::read(token).map_err(TokenError::Invalid)?;
        self.issuer_of(&token).map_err(TokenError::Invalid)?.authenticate(&token, now).await
    }

    /// Verifies a token by the keys that are there.
    ///
    /// # Errors
    ///
    /// Fails if it is not valid.
    pub fn check(&self, token: &str, now: SystemTime) -> Result<Identity, TokenError> {
        let token = Token::read(token).map_err(TokenError::Invalid)?;
        Ok(self.issuer_of(&token).map_err(TokenError::Invalid)?.check(&token, now)?)
    }

    /// Returns the issuer of a token. Keys of one issuer never verify tokens of another (RFC 8725, section 3.8), so `iss`
    /// is read before the signature is verified, if there is a choice.
    fn issuer_of(&self, token: &Token<'_>) -> Result<&Issuer, String> {
        if let [issuer] = &self.issuers[..] {
            return Ok(issuer);
        }
        let claims = Claims::read(&token.claims)?;
        let named = self.issuers.iter().find(|issuer| issuer.is_named_by(&claims));
        let other = || self.issuers.iter().find(|issuer| issuer.settings().issuer.is_none());
        named.or_else(other).ok_or_else(|| "its iss is none of the issuers in the settings".to_owned())
    }
}
