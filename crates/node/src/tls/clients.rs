//! Certificates of clients: by which authorities they are checked, and why one is refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanfare_config::certificate::{authorities, provider};
use rustls::CertificateError;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::metrics::TlsMetrics;
use super::{Tls, TlsError};
use crate::reload;

/// The file of authorities, read again when it changes.
#[derive(Debug)]
pub struct Authorities {
    pub(super) file: PathBuf,
    pub(super) tls: Tls,
    pub(super) metrics: TlsMetrics,
}

/// Reads the authorities in a file. Returns the check of clients' certificates, and a hash of the file.
///
/// # Errors
///
/// Fails if the file contains no authority.
pub(super) fn read(file: &Path) -> Result<(Arc<dyn ClientCertVerifier>, u64), TlsError> {
    let (roots, mark) = authorities(file)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    Ok((verifier, mark))
}

impl reload::Files for Authorities {
    type Content = Arc<dyn ClientCertVerifier>;
    type Error = TlsError;

    fn read(&self) -> Result<(Self::Content, u64), TlsError> {
        read(&self.file)
    }

    fn replace(&self, verifier: Self::Content) {
        if let Err(error) = self.tls.verify_by(verifier) {
            return self.keep(&error.to_string());
        }
        self.metrics.loaded.inc();
        tracing::info!(file = %self.file.display(), "loaded changed authorities of clients");
    }

    fn keep(&self, error: &str) {
        self.metrics.failures.inc();
        tracing::error!(error, "failed to load the changed authorities of clients; keeping the old ones");
    }
}

/// Returns why a client's certificate was refused, if that is why a handshake failed.
pub(crate) fn refusal(error: &io::Error) -> Option<String> {
    let why = match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::NoCertificatesPresented => "the client shows no certificate".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the client's certificate is of no authority in tls.client_ca".to_owned()
        }
        rustls::Error::InvalidCertificate(error) => format!("the client's certificate is not valid: {error}"),
        _ => return None,
    };
    Some(why)
}
