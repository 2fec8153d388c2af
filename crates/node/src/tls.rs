//! TLS: the node's certificate and its renewal, and the certificates of clients.
//!
//! # Layout
//!
//! - [`clients`]: the authorities of clients
//! - [`metrics`]: metrics of renewed certificates
//! - [`renewal`]: loads a renewed certificate

pub mod clients;
pub mod metrics;
pub mod renewal;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use fanfare_config::certificate::{Files, PairError, provider};
use fanfare_config::tls::TlsConfig;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::clients::Authorities;
use self::metrics::TlsMetrics;
use self::renewal::{Certificate, Renewal};
use crate::reload::Reload;

/// ALPN protocols (RFC 7301): HTTP/2 is preferred.
const ALPN: [&[u8]; 2] = [HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";
/// Maximum bytes of encrypted output that are buffered for a slow client. Further data is queued outside, where it is
/// bounded and has a timeout.
const BUFFER: usize = 16 * 1024;

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate or its key is invalid.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// No certificate of a client can be checked with the authorities.
    #[error("tls.client_ca: {0}")]
    Authorities(#[from] VerifierBuilderError),
    /// The TLS library failed, because of a bug or because no random numbers are available.
    #[error("failed to set up TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// The server side of TLS. Clones share one certificate.
#[derive(Clone)]
pub struct Tls {
    /// Replaced when the authorities of clients change.
    acceptor: Arc<RwLock<TlsAcceptor>>,
    shown: Arc<Shown>,
}

/// The current certificate. Readers hold the lock only to clone it.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Creates TLS from the settings, with the renewal of its certificate; `None` if TLS is off.
    ///
    /// # Errors
    ///
    /// Fails if the files do not contain a certificate with its key.
    pub fn load(config: &TlsConfig, metrics: TlsMetrics) -> Result<Option<(Self, Renewal)>, TlsError> {
        let TlsConfig { certificate, key, client_ca, reload_interval } = config;
        let Some(files) = Files::named(certificate.as_deref(), key.as_deref())? else { return Ok(None) };
        let pair = files.read()?;
        let shown = Arc::new(Shown(RwLock::new(Arc::clone(&pair.key))));
        let authorities = client_ca.as_deref().map(clients::read).transpose()?;
        let (verifier, mark) = authorities.unzip();
        let acceptor = Arc::new(RwLock::new(acceptor(&shown, verifier)?));
        let tls = Self { acceptor, shown };
        let clients = client_ca.clone().zip(mark).map(|(file, mark)| {
            let authorities = Authorities { file, tls: tls.clone(), metrics: metrics.clone() };
            Reload::new(authorities, mark, *reload_interval)
        });
        let certificate = Certificate { files, tls: tls.clone(), metrics };
        let certificate = Reload::new(certificate, pair.mark, *reload_interval);
        Ok(Some((tls, Renewal { certificate, clients })))
    }

    /// Checks the certificates of clients that connect from now on by other authorities.
    ///
    /// # Errors
    ///
    /// Fails if there are no random numbers.
    fn verify_by(&self, verifier: Arc<dyn ClientCertVerifier>) -> Result<(), TlsError> {
        let acceptor = acceptor(&self.shown, Some(verifier))?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// Performs the TLS handshake.
    ///
    /// # Errors
    ///
    /// Fails if the client does not speak TLS, does not trust the certificate, shows no good certificate of its own if it
    /// must, or disconnects.
    pub(crate) async fn accept<IO>(&self, socket: IO) -> std::io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        acceptor.accept_with(socket, |session| session.set_buffer_limit(Some(BUFFER))).await
    }

    fn show(&self, key: Arc<CertifiedKey>) {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

/// Returns the acceptor of connections. With a verifier, each client must show a certificate.
fn acceptor(
    shown: &Arc<Shown>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<TlsAcceptor, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let must_show = verifier.is_some();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(Arc::clone(shown) as Arc<dyn ResolvesServerCert>);
    if must_show {
        // A resumed session would not be checked again, so a certificate would outlive its end and its authority.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
    } else {
        // Session tickets: clients keep the state for resumption.
        server.ticketer = ring::Ticketer::new()?;
    }
    server.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(server).into())
}

/// Returns whether HTTP/2 was negotiated.
pub(crate) fn is_http2<IO>(socket: &TlsStream<IO>) -> bool {
    socket.get_ref().1.alpn_protocol() == Some(HTTP2)
}

#[cfg(test)]
pub(crate) mod tests;
