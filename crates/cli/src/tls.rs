//! TLS configurations of the commands: trusted certificates.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use url::Url;

/// Returns a TLS configuration that trusts the system's certificates, or only those in the file `ca`. A server
/// without TLS needs no certificates.
///
/// # Errors
///
/// Fails if there is no certificate to trust.
pub(crate) fn verified(server: &Url, ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let name = || format!("the file {} (--ca)", file.display());
            for certificate in CertificateDer::pem_file_iter(file).with_context(name)? {
                roots.add(certificate.with_context(name)?).with_context(name)?;
            }
            if roots.is_empty() {
                bail!("{} contains no certificate (PEM, BEGIN CERTIFICATE)", name());
            }
        }
        None if server.scheme() == "https" => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                bail!("this system has no trusted certificates: set a file with --ca");
            }
        }
        None => {}
    }
    Ok(client()?.with_root_certificates(roots).with_no_client_auth())
}

/// Returns a TLS configuration that trusts every certificate: for the node on this machine, which is addressed by its
/// IP address.
///
/// # Errors
///
/// Fails if the TLS library does not support its own defaults.
pub(crate) fn unverified() -> anyhow::Result<ClientConfig> {
    let verifier = Arc::new(AnyCertificate(provider()));
    Ok(client()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn client() -> anyhow::Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    Ok(ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Verifies signatures, but not the certificates' issuers and names.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
