//! Settings of TLS: `[tls]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::Config;
use crate::certificate::{Files, PairError};
use crate::check::Checks;
use crate::setting::settings;

settings! {
    /// `[tls]`: without a certificate and a key the node uses clear text.
    pub struct TlsConfig = "tls", |config| config.tls => {
        /// PEM file with the node's certificate, followed by intermediate certificates. The node then speaks only TLS.
        certificate: Option<PathBuf>;
        /// PEM file with the certificate's private key.
        key: Option<PathBuf>;
        /// Interval between checks of the two files; a renewed certificate is loaded without a restart.
        reload_interval: Duration = "1m", in "1ms" to "366d";
    }
}

impl TlsConfig {
    /// Returns whether the node uses TLS.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some() || self.key.is_some()
    }
}

/// Reads the certificate and the key, and checks that they match.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    let tls = &config.tls;
    let files = Files::named(tls.certificate.as_deref(), tls.key.as_deref());
    let pair = files.and_then(|files| files.map(|files| files.read()).transpose());
    let Err(error) = pair else { return };
    let name = match error {
        PairError::Half if tls.key.is_none() => "tls.key",
        ref error if tls.key.as_ref().is_some_and(|key| error.is_of(key)) => "tls.key",
        _ => "tls.certificate",
    };
    checks.fail(
        &[name],
        &error.to_string(),
        "two readable PEM files: tls.certificate with the certificate chain (the node's own certificate first), and \
         tls.key with its private key",
    );
}
