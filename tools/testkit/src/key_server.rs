//! The server of an issuer's keys, which fails in every way.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::certificate::Certificate;

/// How it answers.
#[derive(Clone, Debug)]
pub enum KeyAnswer {
    /// With this body.
    Body(String),
    /// With this media type and body.
    Typed(String, String),
    /// With these bytes, then the end.
    Raw(String),
    /// With this body, and keeps the connection until the next request, which gets its end only.
    Closes(String),
    /// With this body after a while.
    Late(String, Duration),
    /// With this status, a body of keys and a `Location`.
    Status(u16, String),
    /// Nothing, and the connection stays open.
    Silence,
    /// A byte every 50 ms, for ever.
    Drip,
    /// A body that does not end, as fast as it is read.
    Endless,
    /// A head that does not end, as fast as it is read.
    EndlessHead,
    /// The half of a body whose length is given, then the end.
    Cut(String),
    /// What is no HTTP.
    Noise,
    /// The end of the connection at once.
    Close,
}

/// A server on a loopback address. Ends when it is dropped.
#[derive(Debug)]
pub struct KeyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    answer: Mutex<KeyAnswer>,
    /// Requests so far.
    requests: AtomicUsize,
}

impl KeyServer {
    /// Starts one in clear text.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start(answer: KeyAnswer) -> Self {
        Self::start_with(answer, None).await
    }

    /// Starts one over TLS.
    ///
    /// # Panics
    ///
    /// When no port is free, or the certificate's files are gone.
    pub async fn over_tls(answer: KeyAnswer, certificate: &Certificate) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate.certificate_file()).expect("a file");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(certificate.key_file()).expect("a key");
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        Self::start_with(answer, Some(Arc::new(server).into())).await
    }

    async fn start_with(answer: KeyAnswer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { answer: Mutex::new(answer), requests: AtomicUsize::new(0) });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                tokio::spawn(async move {
                    // A client that goes away is no matter.
                    let _ = match tls {
                        Some(tls) => match tls.accept(socket).await {
                            Ok(socket) => shared.serve(socket).await,
                            Err(error) => Err(error),
                        },
                        None => shared.serve(socket).await,
                    };
                });
            }
        });
        Self { address, shared, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the keys, in clear text.
    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: KeyAnswer) {
        *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn serve(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await?);
        }
        self.requests.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let typed = |status: u16, kind: &str, more: &str, body: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}Content-Length: {length}\r\n\r\n{body}"
            )
        };
        let whole = |status, more: &str, body: &str| typed(status, "application/json", more, body);
        match answer {
            KeyAnswer::Body(body) => socket.write_all(whole(200, "", &body).as_bytes()).await?,
            KeyAnswer::Typed(kind, body) => {
                socket.write_all(typed(200, &kind, "", &body).as_bytes()).await?;
            }
            KeyAnswer::Raw(bytes) => socket.write_all(bytes.as_bytes()).await?,
            KeyAnswer::Closes(body) => {
                socket.write_all(whole(200, "", &body).as_bytes()).await?;
                socket.read_u8().await?;
            }
            KeyAnswer::Late(body, time) => {
                tokio::time::sleep(time).await;
                socket.write_all(whole(200, "", &body).as_bytes()).await?;
            }
            KeyAnswer::Status(status, body) => {
                let more = "Location: http://127.0.0.1:1/elsewhere\r\n";
                socket.write_all(whole(status, more, &body).as_bytes()).await?;
            }
            KeyAnswer::Silence => std::future::pending().await,
            KeyAnswer::Drip => {
                socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await?;
                loop {
                    socket.write_all(b" ").await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            KeyAnswer::Endless => {
                socket.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
                loop {
                    socket.write_all(&[b' '; 16 * 1024]).await?;
                }
            }
            KeyAnswer::EndlessHead => {
                socket.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                loop {
                    socket.write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").await?;
                }
            }
            KeyAnswer::Cut(body) => {
                let text = whole(200, "", &body);
                socket.write_all(&text.as_bytes()[..text.len() - body.len() / 2]).await?;
            }
            KeyAnswer::Noise => socket.write_all(b"\0\x01\x02 hello\r\n\r\n").await?,
            KeyAnswer::Close => {}
        }
        socket.shutdown().await
    }
}
