//! Certificates for tests, trusted by the clients of the same test.

use std::path::PathBuf;
use std::sync::Arc;

use fanfare_config::certificate::provider;
use fanfare_config::tls::TlsConfig;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The subject name of the certificates.
const NAME: &str = "node.test";

/// A certificate and its key in temporary files.
pub(crate) struct Own {
    dir: TempDir,
    certificate: CertificateDer<'static>,
}

impl Own {
    pub(crate) fn new() -> Self {
        let mut own =
            Self { dir: tempfile::tempdir().unwrap(), certificate: CertificateDer::from(Vec::new()) };
        let (certificate, key) = own.renew();
        std::fs::write(own.certificate_file(), certificate).unwrap();
        std::fs::write(own.key_file(), key).unwrap();
        own
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.dir.path().join("certificate.pem")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    pub(crate) fn config(&self) -> TlsConfig {
        TlsConfig {
            certificate: Some(self.certificate_file()),
            key: Some(self.key_file()),
            ..TlsConfig::default()
        }
    }

    /// Creates another pair, which is trusted from now on, without writing files. Returns certificate and key as PEM.
    pub(crate) fn renew(&mut self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
        self.certificate = certificate.der().clone();
        (certificate.pem(), key.serialize_pem())
    }

    /// Connects and performs the handshake.
    pub(crate) async fn connect(
        &self,
        addr: std::net::SocketAddr,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(addr).await?;
        TlsConnector::from(Arc::new(client)).connect(ServerName::try_from(NAME).unwrap(), socket).await
    }
}
