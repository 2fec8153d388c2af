//! Creation of tokens, for tests and scripts; in production, the application's login creates them.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_protocol::{Grants, User};
use ring::error::Unspecified;
use serde_json::{Map, Value, json};

use crate::claim_name::ClaimName;
use crate::settings::IssuerSettings;
use crate::signing_key::SigningKey;

/// Claims of a new token.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The user.
    pub user: User,
    /// The permissions.
    pub grants: Grants,
    /// The lifetime, from now.
    pub ttl: Duration,
}

/// Why a token cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum NewTokenError {
    /// The expiry is out of range.
    #[error("the token's lifetime is too long")]
    TooLong,
    /// Nodes with these settings would refuse the token.
    #[error(
        "the token's lifetime exceeds {} ({place}.max_lifetime); nodes would not accept it",
        humantime::format_duration(*.most)
    )]
    Lifetime {
        /// The place of the settings.
        place: String,
        /// The maximum.
        most: Duration,
    },
    /// Nodes with these settings would refuse the token.
    #[error("{place}.algorithms does not have {algorithm}; nodes would not accept the token")]
    Algorithm {
        /// The place of the settings.
        place: String,
        /// The algorithm.
        algorithm: crate::Algorithm,
    },
    /// The grants are not JSON because of a bug.
    #[error("failed to encode the token: {0}")]
    Encode(#[from] serde_json::Error),
    /// No random numbers are available.
    #[error("failed to sign the token: no random numbers are available")]
    Sign,
}

impl NewToken {
    /// Returns the signed token, which a node with these settings and the key accepts.
    ///
    /// # Errors
    ///
    /// Fails if a node would refuse the token's lifetime or its algorithm.
    pub fn sign(
        &self,
        key: &SigningKey,
        issuer: &IssuerSettings,
        now: SystemTime,
    ) -> Result<String, NewTokenError> {
        let place = || issuer.place.clone();
        if let Some(most) = issuer.max_lifetime.filter(|most| self.ttl > *most) {
            return Err(NewTokenError::Lifetime { place: place(), most });
        }
        if !issuer.algorithms.contains(key.algorithm()) {
            return Err(NewTokenError::Algorithm { place: place(), algorithm: key.algorithm() });
        }
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let expires = now.checked_add(self.ttl).ok_or(NewTokenError::TooLong)?;
        let mut claims = Map::new();
        set(&mut claims, &issuer.user, self.user.id().into());
        claims.insert("iat".to_owned(), now.as_secs().into());
        claims.insert("exp".to_owned(), expires.as_secs().into());
        if let Some(issuer) = &issuer.issuer {
            claims.insert("iss".to_owned(), issuer.as_str().into());
        }
        match &issuer.audience[..] {
            [] => {}
            [one] => drop(claims.insert("aud".to_owned(), one.as_str().into())),
            several => drop(claims.insert("aud".to_owned(), several.into())),
        }
        // Of several values of a claim, the first.
        for required in issuer.required.iter().rev() {
            set(&mut claims, required.name(), required.value().into());
        }
        set(&mut claims, &issuer.grants, serde_json::to_value(&self.grants)?);
        let mut header =
            json!({"typ": issuer.typ.as_deref().unwrap_or("JWT"), "alg": key.algorithm().name()});
        if let Some(id) = key.id() {
            header["kid"] = id.into();
        }
        signed(key, &header, &Value::Object(claims)).map_err(|Unspecified| NewTokenError::Sign)
    }
}

/// Returns a token of a header and claims.
fn signed(key: &SigningKey, header: &Value, claims: &Value) -> Result<String, Unspecified> {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes())?);
    Ok(format!("{text}.{signature}"))
}

/// Sets a claim. The objects on the path of a pointer are created.
fn set(claims: &mut Map<String, Value>, name: &ClaimName, value: Value) {
    let mut steps: Vec<String> = name.steps().collect();
    let Some(last) = steps.pop() else { return };
    let mut members = claims;
    for step in steps {
        let inner = members.entry(step).or_insert_with(|| Map::new().into());
        if !inner.is_object() {
            *inner = Map::new().into();
        }
        let Value::Object(object) = inner else { return };
        members = object;
    }
    members.insert(last, value);
}
