//! Settings of TLS: `[tls]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::Config;
use crate::certificate::{Files, PairError, authorities};
use crate::check::Checks;
use crate::setting::settings;

settings! {
    /// `[tls]`: without a certificate and a key the node uses clear text.
    pub struct TlsConfig = "tls", |config| config.tls => {
        /// PEM file with the node's certificate, followed by intermediate certificates. The node then speaks only TLS.
        certificate: Option<PathBuf>;
        /// PEM file with the certificate's private key.
        key: Option<PathBuf>;
        /// PEM file with the authorities that issue the certificates of clients. If it is set, each client of `node.listen`
        /// must show a certificate of one of them; `admin.listen` needs none.
        client_ca: Option<PathBuf>;
        /// Interval between checks of the files; changed ones are loaded without a restart.
        reload_interval: Duration = "1m", in "1ms" to "366d";
    }
}

impl TlsConfig {
    /// Returns whether the node uses TLS.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some() || self.key.is_some()
    }
}

/// Reads the files, and checks that they can be used.
pub(crate) fn check(config: &Config, checks: &mut Checks<'_>) {
    check_clients(config, checks);
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

/// Checks the authorities of clients.
fn check_clients(config: &Config, checks: &mut Checks<'_>) {
    let Some(ca) = &config.tls.client_ca else { return };
    checks.hold(
        config.tls.is_on(),
        &["tls.client_ca", "tls.certificate"],
        "tls.client_ca needs TLS, but tls.certificate is not set",
        "tls.certificate and tls.key, or no tls.client_ca",
    );
    checks.hold(
        config.admin.listen.is_some(),
        &["tls.client_ca", "admin.listen"],
        "probes, metrics and `fanfare health` show no certificate, and admin.listen is not set",
        "admin.listen, which needs no certificate, or no tls.client_ca",
    );
    if let Err(error) = authorities(ca) {
        let right = "a readable PEM file with the certificates of authorities";
        checks.fail(&["tls.client_ca"], &error.to_string(), right);
    }
}
