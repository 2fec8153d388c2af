//! A key that verifies signatures, and the algorithms that it allows (RFC 8725, section 3.1).

use std::fmt;

use ring::hmac;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

use crate::algorithm::{Algorithm, Algorithms};

/// Number of bits of an RSA key. Shorter ones are not secure (RFC 7518, section 3.3), and longer ones are slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Maximum number of bytes of an RSA exponent that `ring` supports. 65537 has 3.
const MAX_EXPONENT_BYTES: usize = 4;

/// A key that verifies signatures. `Debug` shows nothing of it but its id and its algorithms.
#[derive(Clone)]
pub struct Key {
    /// `kid`. A key without one fits every `kid`.
    id: Option<Box<str>>,
    /// Algorithms of signatures that the key verifies. Never of two kinds of keys.
    algorithms: Algorithms,
    material: Material,
}

#[derive(Clone)]
enum Material {
    /// A secret, prepared for SHA-256, SHA-384 and SHA-512.
    Secret(Box<[hmac::Key; 3]>),
    /// Modulus and exponent.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// A point on a curve.
    Point(UnparsedPublicKey<Vec<u8>>),
}

/// A curve of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256: points have the uncompressed form of SEC 1, section 2.3.3.
    P256,
    /// NIST P-384: points have the uncompressed form of SEC 1, section 2.3.3.
    P384,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The structure is cut or damaged.
    #[error("the key is damaged")]
    Damaged,
    /// A kind of key that no algorithm uses.
    #[error("the key is of an unsupported kind; supported are RSA, P-256, P-384, Ed25519 and secrets")]
    Kind,
    /// A secret that is shorter than every hash (RFC 7518, section 3.2).
    #[error("the secret has {0} bytes; at least 32 are needed")]
    ShortSecret(usize),
    /// An RSA key of another size.
    #[error("the RSA key has {0} bits; supported are 2048 to 8192")]
    RsaBits(usize),
    /// An RSA exponent that is even, too small or too large.
    #[error("the exponent of the RSA key is not supported; nearly all keys have 65537")]
    RsaExponent,
    /// Coordinates of another length, or a compressed point.
    #[error("the key is not a point of its curve in the uncompressed form")]
    Point,
    /// An `alg` that a key of this kind cannot have.
    #[error("the key's alg is {0}, which a key of its kind cannot have")]
    Algorithm(Algorithm),
}

impl Key {
    /// Creates the key of a secret. It allows each HMAC whose hash is not longer than the secret (RFC 7518, section
    /// 3.2).
    ///
    /// # Errors
    ///
    /// Fails if the secret has fewer than 32 bytes.
    pub fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        let algorithms = match secret.len() {
            64.. => Algorithms::of(&[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]),
            48.. => Algorithms::of(&[Algorithm::HS256, Algorithm::HS384]),
            32.. => Algorithms::of(&[Algorithm::HS256]),
            length => return Err(KeyError::ShortSecret(length)),
        };
        let keys = [hmac::HMAC_SHA256, hmac::HMAC_SHA384, hmac::HMAC_SHA512]
            .map(|hash| hmac::Key::new(hash, secret));
        Ok(Self { id: None, algorithms, material: Material::Secret(Box::new(keys)) })
    }

    /// Creates an RSA key from its modulus and exponent, big-endian.
    ///
    /// # Errors
    ///
    /// Fails if the modulus has fewer than 2048 or more than 8192 bits, or if the exponent is not supported.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (without_zeros(modulus), without_zeros(exponent));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaBits(bits));
        }
        let is_odd = e.last().is_some_and(|last| last % 2 == 1);
        if !is_odd || e == [1] || e.len() > MAX_EXPONENT_BYTES {
            return Err(KeyError::RsaExponent);
        }
        let key = RsaPublicKeyComponents { n: n.to_vec(), e: e.to_vec() };
        Ok(Self { id: None, algorithms: Algorithms::RSA, material: Material::Rsa(key) })
    }

    /// Creates the key of a point.
    ///
    /// # Errors
    ///
    /// Fails if the point has another length than those of the curve, or is compressed.
    pub fn point(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, verification, length): (_, &'static dyn signature::VerificationAlgorithm, _) =
            match curve {
                Curve::P256 => (Algorithm::ES256, &signature::ECDSA_P256_SHA256_FIXED, 65),
                Curve::P384 => (Algorithm::ES384, &signature::ECDSA_P384_SHA384_FIXED, 97),
                Curve::Ed25519 => (Algorithm::EdDSA, &signature::ED25519, 32),
            };
        if point.len() != length || (curve != Curve::Ed25519 && point[0] != 4) {
            return Err(KeyError::Point);
        }
        let material = Material::Point(UnparsedPublicKey::new(verification, point.to_vec()));
        Ok(Self { id: None, algorithms: Algorithms::of(&[algorithm]), material })
    }

    /// Sets the `kid`.
    #[must_use]
    pub fn with_id(mut self, id: Option<&str>) -> Self {
        self.id = id.map(Into::into);
        self
    }

    /// Restricts the key to one algorithm.
    ///
    /// # Errors
    ///
    /// Fails if a key of this kind cannot have it.
    pub fn only(mut self, algorithm: Algorithm) -> Result<Self, KeyError> {
        if !self.algorithms.contains(algorithm) {
            return Err(KeyError::Algorithm(algorithm));
        }
        self.algorithms = Algorithms::of(&[algorithm]);
        Ok(self)
    }

    /// Returns the algorithms that the key allows.
    pub fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// Returns whether the key has exactly this `kid`.
    pub(crate) fn is_named(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }

    /// Returns whether the key may have signed a token with this `kid`: the same one, or none on either side.
    pub(crate) fn fits(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(id)) => **own == *id,
            _ => true,
        }
    }

    /// Returns whether a signature is the key's. False for every algorithm that the key does not allow.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.algorithms.contains(algorithm) {
            return false;
        }
        match &self.material {
            Material::Secret(keys) => {
                let [sha256, sha384, sha512] = &**keys;
                let key = match algorithm {
                    Algorithm::HS256 => sha256,
                    Algorithm::HS384 => sha384,
                    _ => sha512,
                };
                // In constant time.
                hmac::verify(key, message, signature).is_ok()
            }
            Material::Rsa(key) => rsa_parameters(algorithm)
                .is_some_and(|parameters| key.verify(parameters, message, signature).is_ok()),
            Material::Point(key) => key.verify(message, signature).is_ok(),
        }
    }
}

/// Returns the parameters of an algorithm with RSA keys. Those of `ring` include the limits of the key's size.
fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// Returns a number without its leading zero bytes, which some issuers of JWKs write.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_used_says_why() {
        let modulus = |bits: usize| {
            let mut bytes = vec![0xff; bits / 8];
            bytes.insert(0, 0);
            bytes
        };
        let rsa = |bits, exponent: &[u8]| Key::rsa(&modulus(bits), exponent).map(drop);
        assert_eq!(rsa(1024, &[1, 0, 1]), Err(KeyError::RsaBits(1024)));
        assert_eq!(rsa(16384, &[1, 0, 1]), Err(KeyError::RsaBits(16384)));
        assert_eq!(rsa(0, &[1, 0, 1]), Err(KeyError::RsaBits(0)));
        assert_eq!(rsa(2048, &[0, 1, 0, 1]), Ok(()));
        assert_eq!(rsa(8192, &[3]), Ok(()));
        for exponent in [&[][..], &[0], &[1], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
            assert_eq!(rsa(2048, exponent), Err(KeyError::RsaExponent), "{exponent:?}");
        }
        for (curve, point) in [
            (Curve::P256, vec![4; 97]),
            (Curve::P256, vec![2; 65]),
            (Curve::P256, vec![2; 33]),
            (Curve::P384, vec![4; 65]),
            (Curve::Ed25519, vec![4; 33]),
            (Curve::Ed25519, vec![]),
        ] {
            assert_eq!(Key::point(curve, &point).map(drop), Err(KeyError::Point), "{curve:?}");
        }
        assert_eq!(Key::secret(&[7; 31]).map(drop), Err(KeyError::ShortSecret(31)));
    }

    #[test]
    fn a_secret_allows_the_hashes_that_are_not_longer() {
        for (length, algorithms) in
            [(32, "HS256"), (47, "HS256"), (48, "HS256, HS384"), (64, "HS256, HS384, HS512")]
        {
            assert_eq!(Key::secret(&vec![7; length]).unwrap().algorithms().to_string(), algorithms);
        }
        let key = Key::secret(&[7; 64]).unwrap();
        assert_eq!(key.clone().only(Algorithm::HS512).unwrap().algorithms().to_string(), "HS512");
        assert_eq!(key.only(Algorithm::RS256).map(drop), Err(KeyError::Algorithm(Algorithm::RS256)));
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = Key::secret(&[b'x'; 64]).unwrap().with_id(Some("a"));
        assert_eq!(format!("{key:?}"), "Key { id: Some(\"a\"), algorithms: {HS256, HS384, HS512}, .. }");
    }
}
