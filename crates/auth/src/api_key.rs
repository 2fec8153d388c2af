//! API keys: static credentials of services.
//!
//! The settings have only the hash of a key, so a copy of them is no credential. One SHA-256 is enough: a key has 256 random
//! bits, so it cannot be guessed however fast a hash is. A slow hash is for passwords, which people choose.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use fanfare_protocol::{Grants, User};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Beginning of every key, by which programs that look for leaked secrets recognize one. No JWT begins with it.
pub const PREFIX: &str = "ffk_";

/// The SHA-256 of a key. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

/// A text that is not the hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 in 64 hexadecimal digits; `fanfare key` prints one")]
pub struct KeyHashError;

impl KeyHash {
    /// Returns the hash of a key.
    pub fn of(key: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, key.as_bytes()).as_ref());
        Self(hash)
    }
}

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(KeyHashError);
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| KeyHashError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| KeyHashError)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An API key of the settings. Several may have one name, so that a key can be replaced by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Name of the service, which is its user.
    pub name: User,
    /// Hash of the key.
    pub hash: KeyHash,
    /// Permissions.
    pub grants: Grants,
    /// Maximum rate of published events, in place of that of a user; `None` for that of a user.
    pub events_per_second: Option<u32>,
    /// Maximum size of an event's data in bytes, if it is less than `limits.event_data`.
    pub event_data: Option<usize>,
}

/// All API keys. Lives as long as the node.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys(Vec<Arc<ApiKey>>);

impl ApiKeys {
    /// Creates the keys of the settings.
    pub fn new(keys: Vec<ApiKey>) -> Self {
        Self(keys.into_iter().map(Arc::new).collect())
    }

    /// Returns the key with this text. Takes the same time for every text of a length: each hash is compared, and wholly.
    pub fn find(&self, text: &str) -> Option<&Arc<ApiKey>> {
        let KeyHash(hash) = KeyHash::of(text);
        let (mut found, mut place) = (Choice::from(0), 0_u64);
        for (at, key) in (0_u64..).zip(&self.0) {
            let is_it = key.hash.0.ct_eq(&hash);
            place.conditional_assign(&at, is_it);
            found |= is_it;
        }
        let place = usize::try_from(place).ok()?;
        bool::from(found).then(|| &self.0[place])
    }

    /// Returns the key with this hash, which a client does not choose.
    pub fn with_hash(&self, hash: KeyHash) -> Option<&Arc<ApiKey>> {
        self.0.iter().find(|key| key.hash == hash)
    }
}

/// Returns a new key.
///
/// # Errors
///
/// Fails if the system has no random numbers.
pub fn generate() -> Result<String, ring::error::Unspecified> {
    let mut bits = [0; 32];
    SystemRandom::new().fill(&mut bits)?;
    Ok(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, text: &str) -> ApiKey {
        let (name, hash) = (User::new(name).unwrap(), KeyHash::of(text));
        ApiKey { name, hash, grants: Grants::default(), events_per_second: None, event_data: None }
    }

    #[test]
    fn a_key_is_found_by_its_text_among_several() {
        let texts: Vec<String> = (0..5).map(|_| generate().unwrap()).collect();
        assert!(texts.iter().all(|text| text.len() == 47 && text.starts_with(PREFIX)), "{texts:?}");
        let keys =
            ApiKeys::new(texts.iter().zip(["a", "b", "b", "c", "d"]).map(|(t, n)| key(n, t)).collect());
        let name = |text: &str| keys.find(text).map(|key| key.name.id().to_owned());
        for (text, wanted) in texts.iter().zip(["a", "b", "b", "c", "d"]) {
            assert_eq!(name(text).as_deref(), Some(wanted));
            let mut other = text.clone();
            other.pop();
            assert_eq!(name(&other), None);
            other.push('-');
            assert_eq!(name(&other).is_some(), other == *text);
            assert_eq!(name(&KeyHash::of(text).to_string()), None, "the hash is no key");
        }
        assert_eq!((name(""), name(PREFIX)), (None, None));
        assert_eq!(ApiKeys::default().find(&texts[0]), None);
    }

    #[test]
    fn a_hash_has_one_form_in_settings() {
        let hash = KeyHash::of("x");
        let text = hash.to_string();
        assert_eq!(text, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text.to_uppercase().parse(), Ok(hash));
        for bad in ["", "ffk_x", &text[1..], &format!("+{}", &text[1..]), &format!("{text}0")] {
            assert_eq!(bad.parse::<KeyHash>(), Err(KeyHashError), "{bad}");
        }
    }
}
