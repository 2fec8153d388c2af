//! Reads public keys from PEM text (RFC 7468): `PUBLIC KEY`, and the keys of `CERTIFICATE`.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject, SectionKind};

use crate::der;
use crate::key::{Key, KeyError};

/// Why a PEM text cannot be used. Shows nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The text has no section that can be used.
    #[error(
        "contains no public key (PEM, BEGIN PUBLIC KEY or BEGIN CERTIFICATE; openssl pkey -pubout makes one of a \
         private key)"
    )]
    NoKey,
    /// The text has a private key, which a node must not have.
    #[error("contains a private key; nodes need the public key only (openssl pkey -pubout)")]
    Private,
    /// A section is cut, or is not base64.
    #[error("is not PEM: {0}")]
    Pem(pem::Error),
    /// A certificate cannot be parsed.
    #[error("contains a certificate that cannot be parsed: {0}")]
    Certificate(webpki::Error),
    /// A key cannot be used.
    #[error("cannot be used: {0}")]
    Key(#[from] KeyError),
}

/// Returns the sections of a PEM text whose kind is known.
pub(crate) fn sections(text: &[u8]) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), pem::Error>> + '_ {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
}

/// Returns the public keys of a PEM text; at least one. Of a certificate, only the key counts: not its dates, names
/// and issuer.
///
/// # Errors
///
/// Fails if there is none, or if one of them cannot be used.
pub(crate) fn public_keys(text: &[u8]) -> Result<Vec<Key>, PemError> {
    let mut keys = Vec::new();
    for section in sections(text) {
        match section.map_err(PemError::Pem)? {
            (SectionKind::PublicKey, key) => keys.push(der::public_key(&key)?),
            (SectionKind::Certificate, certificate) => {
                let certificate = CertificateDer::from(certificate);
                let certificate =
                    webpki::EndEntityCert::try_from(&certificate).map_err(PemError::Certificate)?;
                keys.push(der::public_key(&certificate.subject_public_key_info())?);
            }
            (SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, _) => {
                return Err(PemError::Private);
            }
            _ => {}
        }
    }
    if keys.is_empty() { Err(PemError::NoKey) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = include_str!("../tests/keys/es256.public.pem");

    fn error(text: &str) -> String {
        public_keys(text.as_bytes()).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn a_file_has_one_or_more_public_keys() {
        let rsa = include_str!("../tests/keys/rs256.public.pem");
        let certificate = include_str!("../tests/keys/es256.certificate.pem");
        let keys = public_keys(format!("a comment\n{PUBLIC}\n{rsa}{certificate}").as_bytes()).unwrap();
        let algorithms: Vec<_> = keys.iter().map(|key| key.algorithms().to_string()).collect();
        assert_eq!(algorithms, ["ES256", "RS256, RS384, RS512, PS256, PS384, PS512", "ES256"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(error("").contains("no public key"));
        assert!(
            error("-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n").contains("pubout")
        );
        assert!(error(include_str!("../tests/keys/es256.private.pem")).contains("private key"));
        assert!(error(include_str!("../tests/keys/rsa1024.public.pem")).contains("1024 bits"));
        assert!(error(include_str!("../tests/keys/es256k.public.pem")).contains("unsupported kind"));
        assert!(error(&PUBLIC.replace("-----END", "")).contains("not PEM"));
        assert!(error(&PUBLIC.replace("PUBLIC KEY", "CERTIFICATE")).contains("cannot be parsed"));
    }
}
