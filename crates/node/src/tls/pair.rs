//! A certificate and its key, from their files.

use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::sign::CertifiedKey;

/// Where they are.
#[derive(Clone, Debug)]
pub struct Files {
    /// PEM: the node's certificate first, then those that lead to its issuer.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// A certificate with the key that belongs to it.
#[derive(Debug)]
pub struct Pair {
    /// As it is shown to clients.
    pub key: Arc<CertifiedKey>,
    /// Tells whether the files have other content by now.
    pub mark: u64,
}

/// What is wrong with the files. Tells nothing of what is in them.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file is not there, or not ours to read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// There is no PEM block `CERTIFICATE` in it.
    #[error("{0} contains no certificate (PEM, BEGIN CERTIFICATE)")]
    NoCertificate(PathBuf),
    /// There is no PEM block of a private key in it.
    #[error("{0} contains no private key (PEM, BEGIN PRIVATE KEY, unencrypted)")]
    NoKey(PathBuf),
    /// A PEM block is cut off, or no base64.
    #[error("{0} is not PEM: {1}")]
    Pem(PathBuf, #[source] pem::Error),
    /// The key is of a kind that is not known, or it is another certificate's.
    #[error("the key in {key} does not match the certificate in {certificate}: {error}")]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
        /// What the library said.
        #[source]
        error: rustls::Error,
    },
}

impl Files {
    /// Reads both, and sees that they belong together.
    ///
    /// # Errors
    ///
    /// Fails if they do not.
    pub fn read(&self) -> Result<Pair, PairError> {
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let mark = foldhash::quality::FixedState::default().hash_one((&certificate, &key));
        let chain = parse(&self.certificate, &certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| match error {
            pem::Error::NoItemsFound => PairError::NoKey(self.key.clone()),
            error => PairError::Pem(self.key.clone(), error),
        })?;
        let pair = CertifiedKey::from_der(chain, key, &super::provider()).map_err(|error| {
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
/// Fails if there is none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PairError> {
    parse(path, &read(path)?)
}

fn parse(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| PairError::Pem(path.to_owned(), error))?;
    if certificates.is_empty() { Err(PairError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}
