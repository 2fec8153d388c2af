//! Whose certificates are believed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use reqwest::Url;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Trusts what the system trusts, or only the certificates in the file `ca`. In clear text nobody is asked, and the
/// system need not have any.
///
/// # Errors
///
/// When there is nobody to trust.
pub(crate) fn of_server(server: &Url, ca: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let told = || format!("the file {} (--ca)", file.display());
            for certificate in CertificateDer::pem_file_iter(file).with_context(told)? {
                roots.add(certificate.with_context(told)?).with_context(told)?;
            }
            if roots.is_empty() {
                bail!("{} holds no certificate (PEM, BEGIN CERTIFICATE)", told());
            }
        }
        None if server.scheme() == "https" => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                bail!("this system trusts no certificates: name a file with --ca");
            }
        }
        None => {}
    }
    Ok(client()?.with_root_certificates(roots).with_no_client_auth())
}

/// Believes every certificate: for the node on this machine, which is asked by an address that no certificate has.
///
/// # Errors
///
/// When the library is not what it should be.
pub(crate) fn of_this_machine() -> anyhow::Result<ClientConfig> {
    let verifier = Arc::new(Anybody(provider()));
    Ok(client()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn client() -> anyhow::Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    Ok(ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Looks at the signatures, and not at whose they are.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
