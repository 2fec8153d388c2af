//! The keys of an issuer.

use std::sync::{Arc, PoisonError, RwLock};

use crate::algorithm::Algorithms;
use crate::key::Key;
use crate::remote_keys::RemoteKeys;
use crate::token::Token;

/// Maximum number of keys that are tried for one token, so that tokens without a `kid` cost no more than these.
const MAX_TRIES: usize = 10;

/// The keys of an issuer, which may be replaced.
#[derive(Debug)]
pub(crate) struct KeyRing {
    /// Keys of the settings and of files. Readers hold the lock only to clone a reference.
    local: RwLock<Arc<[Key]>>,
    /// Keys of a URL.
    remote: Option<Arc<RemoteKeys>>,
}

/// The result of the keys that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unverified {
    pub(crate) mismatch: Mismatch,
    /// Whether the token may have a key that is not fetched yet.
    pub(crate) may_be_new: bool,
}

/// Why no key has signed a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// No key has the token's `kid`.
    UnknownKey,
    /// The keys that fit allow only these algorithms.
    Algorithm(Algorithms),
    /// More keys than are tried fit.
    Ambiguous,
    /// The signature is of another key, or of another text.
    Signature,
}

impl Mismatch {
    /// Returns the reason, for the bearer.
    pub(crate) fn reason(self, token: &Token<'_>) -> String {
        match self {
            Self::UnknownKey => "no key has its kid".to_owned(),
            Self::Algorithm(allowed) if allowed.is_empty() => {
                "its algorithm is not accepted by the settings (algorithms)".to_owned()
            }
            Self::Algorithm(allowed) => {
                format!("its algorithm {} is not one of its key's ({allowed})", token.header.algorithm)
            }
            Self::Ambiguous => format!("it has no kid, and more than {MAX_TRIES} keys could have signed it"),
            Self::Signature => "its signature does not match".to_owned(),
        }
    }
}

impl KeyRing {
    pub(crate) fn new(remote: Option<Arc<RemoteKeys>>) -> Self {
        Self { local: RwLock::new(Arc::new([])), remote }
    }

    /// Returns the keys of a URL.
    pub(crate) fn remote(&self) -> Option<&Arc<RemoteKeys>> {
        self.remote.as_ref()
    }

    /// Replaces the keys of the settings and of files.
    pub(crate) fn replace(&self, keys: Vec<Key>) {
        *self.local.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    /// Checks the signature of a token by the keys that fit its `kid` and its algorithm.
    ///
    /// # Errors
    ///
    /// Fails if it is not the signature of one of them.
    pub(crate) fn verify(&self, token: &Token<'_>, accepted: Algorithms) -> Result<(), Unverified> {
        let local = Arc::clone(&self.local.read().unwrap_or_else(PoisonError::into_inner));
        let remote = self.remote.as_ref().map(|remote| remote.keys());
        let keys = || local.iter().chain(remote.iter().flat_map(|keys| keys.iter()));
        verify(keys(), token, accepted).map_err(|mismatch| {
            let is_known = |id: &str| keys().any(|key| key.is_named(id));
            let is_known = token.header.key_id.as_deref().is_some_and(is_known);
            // A URL has no secrets.
            let algorithm = token.header.algorithm;
            let is_possible = accepted.contains(algorithm) && !Algorithms::HMAC.contains(algorithm);
            let may_be_new = remote.is_some() && is_possible && !is_known && mismatch != Mismatch::Ambiguous;
            Unverified { mismatch, may_be_new }
        })
    }
}

/// Checks the signature of a token by those keys that fit its `kid` and its algorithm.
fn verify<'k>(
    keys: impl Iterator<Item = &'k Key>,
    token: &Token<'_>,
    accepted: Algorithms,
) -> Result<(), Mismatch> {
    let Token { header, signed, signature, .. } = token;
    let mut allowed = None;
    let mut tries = 0;
    for key in keys.filter(|key| key.fits(header.key_id.as_deref())) {
        let algorithms = key.algorithms().and(accepted);
        if !algorithms.contains(header.algorithm) {
            allowed = Some(algorithms.or(allowed.unwrap_or(Algorithms::NONE)));
            continue;
        }
        if tries == MAX_TRIES {
            return Err(Mismatch::Ambiguous);
        }
        tries += 1;
        if key.verifies(header.algorithm, signed, signature) {
            return Ok(());
        }
    }
    Err(match (tries, allowed) {
        (0, None) => Mismatch::UnknownKey,
        (0, Some(allowed)) => Mismatch::Algorithm(allowed),
        _ => Mismatch::Signature,
    })
}
