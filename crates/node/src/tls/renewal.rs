//! The renewal of the certificate.

use std::sync::Arc;

use fanfare_config::certificate::{Files, Pair, PairError};
use rustls::sign::CertifiedKey;

use super::Tls;
use super::metrics::TlsMetrics;
use crate::reload::{self, Reload};

/// Loads a renewed certificate and its key.
pub type Renewal = Reload<Certificate>;

/// The files of the certificate in use.
#[derive(Debug)]
pub struct Certificate {
    pub(super) files: Files,
    pub(super) tls: Tls,
    pub(super) metrics: TlsMetrics,
}

impl reload::Files for Certificate {
    type Content = Arc<CertifiedKey>;
    type Error = PairError;

    fn read(&self) -> Result<(Arc<CertifiedKey>, u64), PairError> {
        self.files.read().map(|Pair { key, mark }| (key, mark))
    }

    fn replace(&self, key: Arc<CertifiedKey>) {
        self.tls.show(key);
        self.metrics.loaded.inc();
        tracing::info!(file = %self.files.certificate.display(), "loaded a renewed certificate");
    }

    fn keep(&self, error: &str) {
        self.metrics.failures.inc();
        tracing::error!(error, "failed to load the renewed certificate; keeping the old one");
    }
}
