//! The files of TLS to Redis. They are read again when a node reconnects.

use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::settings::RedisSettings;
use crate::BrokerError;

/// The files, and what they contained last.
pub(super) struct TlsFiles {
    /// PEM file with the certificates to trust in place of the system's.
    ca: Option<PathBuf>,
    /// PEM files with the certificate that the node shows, and its private key.
    identity: Option<(PathBuf, PathBuf)>,
    current: Mutex<Current>,
}

struct Current {
    certificates: TlsCertificates,
    /// Hash of the files, to detect changes.
    mark: u64,
    /// The error of the last attempt to read them, so that a lasting error is logged once.
    last_error: Option<String>,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or is not PEM, or if the key does not match the certificate.
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, BrokerError> {
        // Required if several providers are built in. An error means that a provider is installed already.
        let _ = ring::default_provider().install_default();
        let (ca, identity) = (settings.ca.clone(), settings.identity.clone());
        let (certificates, mark) = read(ca.as_deref(), identity.as_ref()).map_err(BrokerError::Refused)?;
        let current = Mutex::new(Current { certificates, mark, last_error: None });
        Ok(Self { ca, identity, current })
    }

    /// Returns the parameters of a new connection with the certificates. Reads the files again, and keeps the last good
    /// content if they cannot be used. May block.
    ///
    /// # Errors
    ///
    /// Fails if the client library refuses the certificates.
    pub(super) fn add_to(&self, info: ConnectionInfo) -> Result<ConnectionInfo, BrokerError> {
        add(info, self.read_again())
    }

    /// Returns the parameters of a new connection with the certificates of the last reading.
    ///
    /// # Errors
    ///
    /// Fails if the client library refuses the certificates.
    pub(super) fn add_last(&self, info: ConnectionInfo) -> Result<ConnectionInfo, BrokerError> {
        add(info, self.current().certificates.clone())
    }

    /// Returns the mark of the certificates of the last reading: others have another one.
    pub(super) fn mark(&self) -> u64 {
        self.current().mark
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_again(&self) -> TlsCertificates {
        let read = read(self.ca.as_deref(), self.identity.as_ref());
        let mut current = self.current();
        match read {
            Ok((certificates, mark)) => {
                if mark != current.mark {
                    tracing::info!("loaded changed certificates for TLS to Redis");
                }
                *current = Current { certificates, mark, last_error: None };
            }
            Err(error) if current.last_error.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::error!(
                    error,
                    "failed to load the certificates for TLS to Redis; keeping the old ones"
                );
                current.last_error = Some(error);
            }
        }
        current.certificates.clone()
    }
}

fn add(info: ConnectionInfo, certificates: TlsCertificates) -> Result<ConnectionInfo, BrokerError> {
    // This error does not contain the URL.
    Client::build_with_tls(info, certificates)
        .map(|client| client.get_connection_info().clone())
        .map_err(|error| BrokerError::Refused(format!("failed to set up TLS to Redis: {error}")))
}

/// Reads and checks the files. Returns their content and its hash.
fn read(ca: Option<&Path>, identity: Option<&(PathBuf, PathBuf)>) -> Result<(TlsCertificates, u64), String> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| format!("the file {} cannot be read: {error}", path.display()))
    };
    let root_cert = ca.map(read).transpose()?;
    let client_tls = match identity {
        Some((certificate, key)) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
        None => None,
    };
    let pair = client_tls.as_ref().map(|pair| (&pair.client_cert, &pair.client_key));
    let mark = foldhash::quality::FixedState::default().hash_one((&root_cert, pair));
    let certificates = TlsCertificates { client_tls, root_cert };
    check(&certificates)?;
    Ok((certificates, mark))
}

/// Checks that the TLS library can use the certificates. The error names the setting, and shows nothing of the files.
fn check(certificates: &TlsCertificates) -> Result<(), String> {
    if let Some(ca) = &certificates.root_cert {
        let mut roots = RootCertStore::empty();
        for certificate in parse("redis.ca", ca)? {
            roots.add(certificate).map_err(|error| format!("redis.ca is not usable: {error}"))?;
        }
    }
    let Some(pair) = &certificates.client_tls else { return Ok(()) };
    let chain = parse("redis.certificate", &pair.client_cert)?;
    let key = PrivateKeyDer::from_pem_slice(&pair.client_key)
        .map_err(|error| format!("redis.key contains no private key in PEM: {error}"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map(drop)
        .map_err(|error| format!("redis.key does not match redis.certificate: {error}"))
}

/// Returns the certificates in the file of a setting; at least one.
fn parse(setting: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(format!("{setting} contains no certificate in PEM"))
        }
        other => other.map_err(|error| format!("{setting} is not PEM: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_testkit::certificate::Certificate;

    use super::*;

    #[test]
    fn a_content_that_cannot_be_used_is_named_and_the_last_good_one_stays() {
        let own = Certificate::default();
        let (certificate, key) = own.for_client("node", true);
        let settings = RedisSettings {
            ca: Some(own.authority_file()),
            identity: Some((certificate.clone(), key.clone())),
            ..RedisSettings::default()
        };
        let files = TlsFiles::new(&settings).unwrap();
        let pair = || {
            let certificates = files.read_again();
            let pair = certificates.client_tls.unwrap();
            (certificates.root_cert.unwrap(), pair.client_cert, pair.client_key)
        };
        let first = pair();
        let other_key = std::fs::read(own.key_file()).unwrap();
        for (file, content, words) in [
            (&own.authority_file(), &b""[..], "redis.ca contains no certificate"),
            (&certificate, &b""[..], "redis.certificate contains no certificate"),
            (&certificate, &first.1[..60], "redis.certificate is not PEM"),
            (&key, &first.1[..], "redis.key contains no private key"),
            (&key, &other_key[..], "redis.key does not match redis.certificate"),
        ] {
            let before = std::fs::read(file).unwrap();
            std::fs::write(file, content).unwrap();
            let error = TlsFiles::new(&settings).map(drop).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("BEGIN CERT"), "{error}");
            assert!(pair() == first, "{words}");
            std::fs::write(file, before).unwrap();
        }
        std::fs::remove_file(&key).unwrap();
        let error = TlsFiles::new(&settings).map(drop).unwrap_err().to_string();
        assert!(error.contains("key.pem cannot be read"), "{error}");
        assert!(pair() == first);
        own.for_client("node", true);
        assert!(pair() != first);
    }
}
