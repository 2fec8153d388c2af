//! Reads a certificate and its key, and certificates of authorities.

use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::sign::CertifiedKey;

/// Paths of the certificate and its key.
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM file: the node's certificate first, then intermediate certificates.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Pair {
    /// The certificate and key for TLS.
    pub key: Arc<CertifiedKey>,
    /// Hash of the files, to detect changes.
    pub mark: u64,
}

/// Why the files cannot be used. Shows nothing of their content.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// Only one of the two settings is set.
    #[error("tls.certificate and tls.key must be set together")]
    Half,
    /// A file does not exist or cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file has no PEM block `CERTIFICATE`.
    #[error("{0} contains no certificate (PEM, BEGIN CERTIFICATE)")]
    NoCertificate(PathBuf),
    /// The file has no PEM block of a private key.
    #[error("{0} contains no private key (PEM, BEGIN PRIVATE KEY, unencrypted)")]
    NoKey(PathBuf),
    /// A PEM block is truncated, or is not base64.
    #[error("{0} is not PEM: {1}")]
    Pem(PathBuf, #[source] pem::Error),
    /// No certificate can be checked with it.
    #[error("{0} contains a certificate that cannot be an authority: {1}")]
    Authority(PathBuf, #[source] rustls::Error),
    /// The key is of an unknown kind, or belongs to another certificate.
    #[error("the key in {key} does not match the certificate in {certificate}: {error}")]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
        /// The error of the TLS library.
        #[source]
        error: rustls::Error,
    },
}

impl PairError {
    /// Returns whether only this file is wrong.
    pub fn is_of(&self, file: &Path) -> bool {
        match self {
            Self::Unreadable(path, _)
            | Self::NoCertificate(path)
            | Self::NoKey(path)
            | Self::Pem(path, _)
            | Self::Authority(path, _) => path == file,
            Self::Half | Self::Mismatch { .. } => false,
        }
    }
}

impl Files {
    /// Returns the files that the settings `tls.certificate` and `tls.key` name, or none if both are empty.
    ///
    /// # Errors
    ///
    /// [`PairError::Half`] if only one is set.
    pub fn named(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Self>, PairError> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                Ok(Some(Self { certificate: certificate.to_owned(), key: key.to_owned() }))
            }
            (None, None) => Ok(None),
            _ => Err(PairError::Half),
        }
    }

    /// Reads both files and checks that they match.
    ///
    /// # Errors
    ///
    /// Fails if a file is invalid, or if they do not match.
    pub fn read(&self) -> Result<Pair, PairError> {
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let mark = foldhash::quality::FixedState::default().hash_one((&certificate, &key));
        let chain = parse(&self.certificate, &certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| match error {
            pem::Error::NoItemsFound => PairError::NoKey(self.key.clone()),
            error => PairError::Pem(self.key.clone(), error),
        })?;
        let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let (key, certificate) = (self.key.clone(), self.certificate.clone());
            PairError::Mismatch { key, certificate, error }
        })?;
        Ok(Pair { key: Arc::new(pair), mark })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PairError> {
    std::fs::read(path).map_err(|error| PairError::Unreadable(path.to_owned(), error))
}

/// Returns the certificates in a PEM file; at least one.
///
/// # Errors
///
/// Fails if there is no certificate.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    parse(path, &read(path)?)
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| PairError::Pem(path.to_owned(), error))?;
    if certificates.is_empty() { Err(PairError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

/// Reads the certificates of authorities. Returns them, and a hash of the file.
///
/// # Errors
///
/// Fails if there is no certificate, or one that cannot be an authority.
pub fn authorities(path: &Path) -> Result<(Arc<RootCertStore>, u64), PairError> {
    let text = read(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in parse(path, &text)? {
        roots.add(certificate).map_err(|error| PairError::Authority(path.to_owned(), error))?;
    }
    Ok((Arc::new(roots), foldhash::quality::FixedState::default().hash_one(&text)))
}

/// Returns the provider of every key, cipher and random number of this node.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
