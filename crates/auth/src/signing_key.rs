//! Keys that sign tokens.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use ring::{error, hmac};
use rustls::pki_types::pem::{self, SectionKind};

use crate::algorithm::{Algorithm, Algorithms};
use crate::pem::sections;

/// A key that signs tokens with one algorithm. `Debug` shows only the algorithm.
pub struct SigningKey {
    algorithm: Algorithm,
    /// `kid` of the tokens.
    id: Option<String>,
    material: Material,
}

enum Material {
    Secret(hmac::Key),
    Rsa(Box<RsaKeyPair>, &'static dyn signature::RsaEncoding),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

/// Why a key cannot sign. Shows nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The text has no private key.
    #[error("contains no private key (PEM, BEGIN PRIVATE KEY, unencrypted)")]
    NoKey,
    /// A section is cut, or is not base64.
    #[error("is not PEM: {0}")]
    Pem(pem::Error),
    /// The form of `openssl ecparam`, which `ring` does not read.
    #[error("has the form of SEC 1; openssl pkcs8 -topk8 -nocrypt -in FILE converts it")]
    Sec1,
    /// The key is damaged, too short, or of another kind.
    #[error("contains a key that cannot be used{}", of(*.0))]
    Rejected(Option<Algorithm>),
    /// The algorithm is not one of the key's.
    #[error("cannot sign with {0}: the key allows {1}")]
    Algorithm(Algorithm, Algorithms),
    /// The secret is shorter than the algorithm's hash.
    #[error("the secret is too short for {0}, or {0} does not use a secret")]
    Secret(Algorithm),
}

fn of(algorithm: Option<Algorithm>) -> String {
    algorithm.map_or_else(
        || " (RSA of 2048 to 4096 bits, P-256, P-384 and Ed25519 can)".to_owned(),
        |algorithm| format!(" with {algorithm}"),
    )
}

impl SigningKey {
    /// Creates the key of a secret, for HS256 unless another algorithm is given.
    ///
    /// # Errors
    ///
    /// Fails if the algorithm does not use a secret, or a longer one.
    pub fn secret(secret: &[u8], algorithm: Option<Algorithm>) -> Result<Self, SigningKeyError> {
        let algorithm = algorithm.unwrap_or(Algorithm::HS256);
        let hash = match (algorithm, secret.len()) {
            (Algorithm::HS256, 32..) => hmac::HMAC_SHA256,
            (Algorithm::HS384, 48..) => hmac::HMAC_SHA384,
            (Algorithm::HS512, 64..) => hmac::HMAC_SHA512,
            _ => return Err(SigningKeyError::Secret(algorithm)),
        };
        Ok(Self { algorithm, id: None, material: Material::Secret(hmac::Key::new(hash, secret)) })
    }

    /// Reads the first private key of a PEM text. Without an algorithm, an RSA key signs with RS256.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or if it does not allow the algorithm.
    pub fn pem(text: &[u8], algorithm: Option<Algorithm>) -> Result<Self, SigningKeyError> {
        for section in sections(text) {
            let (kind, der) = section.map_err(SigningKeyError::Pem)?;
            let (allowed, material) = match kind {
                SectionKind::RsaPrivateKey => (Algorithms::RSA, RsaKeyPair::from_der(&der).ok().map(rsa)),
                SectionKind::PrivateKey => pkcs8(&der),
                SectionKind::EcPrivateKey => return Err(SigningKeyError::Sec1),
                _ => continue,
            };
            let material = material.ok_or(SigningKeyError::Rejected(algorithm))?;
            return Self::of(material, allowed, algorithm);
        }
        Err(SigningKeyError::NoKey)
    }

    fn of(
        material: Material,
        allowed: Algorithms,
        algorithm: Option<Algorithm>,
    ) -> Result<Self, SigningKeyError> {
        let first = Algorithm::ALL.into_iter().find(|algorithm| allowed.contains(*algorithm));
        let algorithm = algorithm.or(first).ok_or(SigningKeyError::Rejected(None))?;
        if !allowed.contains(algorithm) {
            return Err(SigningKeyError::Algorithm(algorithm, allowed));
        }
        let material = match (material, algorithm) {
            (Material::Rsa(key, _), algorithm) => Material::Rsa(key, encoding(algorithm)),
            (material, _) => material,
        };
        Ok(Self { algorithm, id: None, material })
    }

    /// Sets the `kid` of the tokens.
    #[must_use]
    pub fn with_id(mut self, id: Option<String>) -> Self {
        self.id = id;
        self
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the `kid`.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns the signature of a message.
    ///
    /// # Errors
    ///
    /// Fails if no random numbers are available.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, error::Unspecified> {
        let random = SystemRandom::new();
        Ok(match &self.material {
            Material::Secret(key) => hmac::sign(key, message).as_ref().to_vec(),
            Material::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &random, message, &mut signature)?;
                signature
            }
            Material::Ecdsa(key) => key.sign(&random, message)?.as_ref().to_vec(),
            Material::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        })
    }
}

fn rsa(key: RsaKeyPair) -> Material {
    Material::Rsa(Box::new(key), &signature::RSA_PKCS1_SHA256)
}

/// Reads a key of any kind in PKCS #8. Returns the algorithms of its kind, none if it cannot be read.
fn pkcs8(der: &[u8]) -> (Algorithms, Option<Material>) {
    if let Ok(key) = RsaKeyPair::from_pkcs8(der) {
        return (Algorithms::RSA, Some(rsa(key)));
    }
    if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return (Algorithms::of(&[Algorithm::EdDSA]), Some(Material::Ed25519(key)));
    }
    for (algorithm, signing) in [
        (Algorithm::ES256, &signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        (Algorithm::ES384, &signature::ECDSA_P384_SHA384_FIXED_SIGNING),
    ] {
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(signing, der, &SystemRandom::new()) {
            return (Algorithms::of(&[algorithm]), Some(Material::Ecdsa(Box::new(key))));
        }
    }
    (Algorithms::NONE, None)
}

/// Returns the encoding of an algorithm with RSA keys.
fn encoding(algorithm: Algorithm) -> &'static dyn signature::RsaEncoding {
    match algorithm {
        Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str, algorithm: Option<Algorithm>) -> String {
        SigningKey::pem(text.as_bytes(), algorithm).unwrap_err().to_string()
    }

    #[test]
    fn a_key_that_cannot_sign_says_why() {
        let ec = include_str!("../tests/keys/es256.private.pem");
        assert!(error(ec, Some(Algorithm::RS256)).contains("the key allows ES256"));
        assert!(error(include_str!("../tests/keys/es256.sec1.pem"), None).contains("topk8"));
        assert!(error(include_str!("../tests/keys/es256.public.pem"), None).contains("no private key"));
        assert!(error(include_str!("../tests/keys/rsa1024.private.pem"), None).contains("2048"));
        assert!(
            SigningKey::secret(&[7; 32], Some(Algorithm::HS512)).unwrap_err().to_string().contains("short")
        );
        assert!(SigningKey::secret(&[7; 64], Some(Algorithm::ES256)).is_err());
        let shown = format!("{:?}", SigningKey::pem(ec.as_bytes(), None).unwrap());
        assert_eq!(shown, "SigningKey { algorithm: ES256, .. }");
    }
}
