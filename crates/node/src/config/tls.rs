//! Settings of TLS: `[tls]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[tls]`: without a certificate and a key the node speaks clear text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A PEM file with the node's certificate, and after it those that lead to its issuer. `FANFARE_TLS__CERTIFICATE`.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's private key. `FANFARE_TLS__KEY`.
    pub key: Option<PathBuf>,
    /// How often the two files are looked at, so that a renewed certificate is taken without a restart.
    /// `FANFARE_TLS__RELOAD_INTERVAL`.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

impl TlsConfig {
    /// Whether the node speaks TLS.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some() || self.key.is_some()
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { certificate: None, key: None, reload_interval: Duration::from_mins(1) }
    }
}
