//! Settings of TLS: `[tls]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[tls]`: without a certificate and a key the node uses clear text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with the node's certificate, followed by intermediate certificates. The node then speaks only TLS.
    /// `FANFARE_TLS__CERTIFICATE`.
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key. `FANFARE_TLS__KEY`.
    pub key: Option<PathBuf>,
    /// Interval between checks of the two files; a renewed certificate is loaded without a restart. Default: `1m`.
    /// `FANFARE_TLS__RELOAD_INTERVAL`.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

impl TlsConfig {
    /// Returns whether the node uses TLS.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some() || self.key.is_some()
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { certificate: None, key: None, reload_interval: Duration::from_mins(1) }
    }
}
