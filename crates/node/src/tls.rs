//! TLS: the node's certificate, and its renewal.
//!
//! # Layout
//!
//! - [`metrics`]: metrics of renewed certificates
//! - [`renewal`]: loads a renewed certificate

pub mod metrics;
pub mod renewal;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use fanfare_config::certificate::{Files, PairError, provider};
use fanfare_config::tls::TlsConfig;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::metrics::TlsMetrics;
use self::renewal::{Certificate, Renewal};

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
    /// The TLS library failed, because of a bug or because no random numbers are available.
    #[error("failed to set up TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// The server side of TLS. Clones share one certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
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
        let TlsConfig { certificate, key, reload_interval } = config;
        let Some(files) = Files::named(certificate.as_deref(), key.as_deref())? else { return Ok(None) };
        let pair = files.read()?;
        let shown = Arc::new(Shown(RwLock::new(Arc::clone(&pair.key))));
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        // Session tickets: clients keep the state for resumption.
        server.ticketer = ring::Ticketer::new()?;
        let tls = Self { acceptor: Arc::new(server).into(), shown };
        let certificate = Certificate { files, tls: tls.clone(), metrics };
        let renewal = Renewal::new(certificate, pair.mark, *reload_interval);
        Ok(Some((tls, renewal)))
    }

    /// Performs the TLS handshake.
    ///
    /// # Errors
    ///
    /// Fails if the client does not speak TLS, does not trust the certificate, or disconnects.
    pub(crate) async fn accept<IO>(&self, socket: IO) -> std::io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept_with(socket, |session| session.set_buffer_limit(Some(BUFFER))).await
    }

    fn show(&self, key: Arc<CertifiedKey>) {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

/// Returns whether HTTP/2 was negotiated.
pub(crate) fn is_http2<IO>(socket: &TlsStream<IO>) -> bool {
    socket.get_ref().1.alpn_protocol() == Some(HTTP2)
}

#[cfg(test)]
pub(crate) mod tests;
