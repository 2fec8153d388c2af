//! A certificate for nodes, of an authority that only this test trusts.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tempfile::TempDir;

/// Where nodes are.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
const AUTHORITY: &str = "authority.pem";

/// A certificate and its key in files, which are gone with the last clone.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<Inner>, Option<ClientPair>);

/// The files of a client's certificate and of its key.
pub type ClientPair = (PathBuf, PathBuf);

#[derive(Debug)]
struct Inner {
    dir: TempDir,
    names: Vec<String>,
    authority: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Default for Certificate {
    /// One for `localhost` and 127.0.0.1.
    fn default() -> Self {
        Self::of(&NAMES)
    }
}

impl Certificate {
    /// Makes an authority, and the first certificate for these names and addresses.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn of(names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let dir = TempDir::new().expect("a directory for the files");
        // As real authorities, no two have one name.
        let name = dir.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, format!("authority of {name}"));
        let root = params.self_signed(&key).expect("an authority vouches for itself");
        fs::write(dir.path().join(AUTHORITY), root.pem()).expect("our own file");
        let (root, names) = (root.der().clone(), names.iter().map(|&name| name.to_owned()).collect());
        let authority = Issuer::new(params, key);
        let certificate = Self(Arc::new(Inner { dir, names, authority, root }), None);
        certificate.renew();
        certificate
    }

    /// Puts another certificate with another key in the place of those in the files.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn renew(&self) {
        let key = KeyPair::generate().expect("keys can be made");
        let params = CertificateParams::new(self.0.names.clone()).expect("names are names");
        let certificate = params.signed_by(&key, &self.0.authority).expect("the authority signs");
        fs::write(self.certificate_file(), certificate.pem()).expect("our own file");
        fs::write(self.key_file(), key.serialize_pem()).expect("our own file");
    }

    /// Makes a certificate of the same authority for a client with this name, valid for years or expired. Returns the files of the
    /// certificate and of its key.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn for_client(&self, name: &str, is_valid: bool) -> ClientPair {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params =
            CertificateParams::new(vec![format!("{name}.clients.example")]).expect("names are names");
        params.distinguished_name.push(DnType::CommonName, name);
        if !is_valid {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.0.authority).expect("the authority signs");
        let place = |what: &str| self.0.dir.path().join(format!("{name}-{what}.pem"));
        fs::write(place("certificate"), certificate.pem()).expect("our own file");
        fs::write(place("key"), key.serialize_pem()).expect("our own file");
        (place("certificate"), place("key"))
    }

    /// PEM.
    pub fn certificate_file(&self) -> PathBuf {
        self.0.dir.path().join("certificate.pem")
    }

    /// PEM: who vouches for it.
    pub fn authority_file(&self) -> PathBuf {
        self.0.dir.path().join(AUTHORITY)
    }

    /// PEM.
    pub fn key_file(&self) -> PathBuf {
        self.0.dir.path().join("key.pem")
    }

    /// Returns the same, for clients that show a certificate.
    #[must_use]
    pub fn shown(&self, pair: &ClientPair) -> Self {
        Self(Arc::clone(&self.0), Some(pair.clone()))
    }

    /// Returns a client that trusts this authority only, and offers these protocols.
    ///
    /// # Panics
    ///
    /// When the library is not what it should be.
    pub fn client(&self, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.root.clone()).expect("the authority is one");
        let mut client = match &self.1 {
            None => client(roots).with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_file_iter(certificate).expect("our own file");
                let key = PrivateKeyDer::from_pem_file(key).expect("our own file");
                client(roots)
                    .with_client_auth_cert(chain.map(|one| one.expect("our own certificate")).collect(), key)
                    .expect("the key is that of the certificate")
            }
        };
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        client
    }
}

/// A client that trusts these.
pub(crate) fn client(roots: RootCertStore) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions")
        .with_root_certificates(roots)
}
