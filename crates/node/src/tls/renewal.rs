//! The renewal of the certificate, and changes of the authorities of clients.

use std::sync::Arc;

use fanfare_config::certificate::{Files, Pair, PairError};
use futures_util::future::OptionFuture;
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::Tls;
use super::clients::Authorities;
use super::metrics::TlsMetrics;
use crate::reload::{self, Reload};

/// Loads a renewed certificate and its key, and changed authorities of clients.
#[derive(Debug)]
pub struct Renewal {
    pub(super) certificate: Reload<Certificate>,
    /// None if clients need no certificate.
    pub(super) clients: Option<Reload<Authorities>>,
}

impl Renewal {
    /// Checks the files periodically until it is stopped.
    pub async fn run(self, stop: CancellationToken) {
        let clients = OptionFuture::from(self.clients.map(|clients| clients.run(stop.clone())));
        tokio::join!(self.certificate.run(stop), clients);
    }
}

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
