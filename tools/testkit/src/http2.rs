//! HTTP/2 connections that many streams share. Each stream is read as if it came by HTTP/1.1, so that the same parser
//! looks at it.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Mutex;

use crate::certificate::Certificate;
use crate::tcp;

/// How much of a stream may wait for a client that does not read, beside the window of 65,535 bytes.
const PIPE: usize = 4096;
/// The window of a whole connection: one slow stream leaves room for the others.
const WINDOW: u32 = 16 << 20;

/// The connections of one client, one to each node, as a browser has them.
#[derive(Clone, Debug)]
pub struct Http2 {
    /// Clear text without one.
    certificate: Option<Certificate>,
    nodes: Arc<Mutex<HashMap<SocketAddr, SendRequest<Bytes>>>>,
    made: Arc<AtomicUsize>,
    gone: Arc<AtomicUsize>,
}

impl Http2 {
    /// In clear text, by prior knowledge.
    pub fn clear() -> Self {
        Self::with(None)
    }

    /// Over TLS, by ALPN.
    pub fn tls(certificate: &Certificate) -> Self {
        Self::with(Some(certificate.clone()))
    }

    fn with(certificate: Option<Certificate>) -> Self {
        Self { certificate, nodes: Arc::default(), made: Arc::default(), gone: Arc::default() }
    }

    /// How many connections were made.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// How many of them are closed.
    pub fn gone(&self) -> usize {
        self.gone.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for the answer's head. What comes back is text of HTTP/1.1: a clean end of the stream is the last chunk, and with a
    /// reset there is none. Dropping it resets the stream.
    pub(crate) async fn send(
        &self,
        to: SocketAddr,
        target: &str,
        headers: &[(String, String)],
    ) -> io::Result<DuplexStream> {
        loop {
            let mut request = Request::get(format!("https://{to}{target}"));
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let request = request.body(()).map_err(io::Error::other)?;
            let mut connection = self.connection(to).await?;
            let (response, _) = connection.send_request(request, true).map_err(io::Error::other)?;
            match response.await {
                Ok(response) => {
                    let (ours, theirs) = tokio::io::duplex(PIPE);
                    tokio::spawn(translate(response, theirs));
                    return Ok(ours);
                }
                // It crossed with GOAWAY and was not looked at; the next one goes over another connection
                // (RFC 9113, section 8.7).
                Err(error) if error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM) => {
                    self.nodes.lock().await.remove(&to);
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// The connection to a node, replaced when it accepts no more requests.
    async fn connection(&self, to: SocketAddr) -> io::Result<SendRequest<Bytes>> {
        // Held while it connects, so that no two are made.
        let mut nodes = self.nodes.lock().await;
        if let Some(connection) = nodes.get(&to)
            && let Ok(ready) = connection.clone().ready().await
        {
            return Ok(ready);
        }
        let socket = tcp::connect(to, None, None).await?;
        let connection = match &self.certificate {
            None => self.start(socket).await?,
            Some(certificate) => {
                let socket = tcp::tls_handshake(certificate, &["h2", "http/1.1"], socket).await?;
                assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                self.start(socket).await?
            }
        };
        nodes.insert(to, connection.clone());
        connection.ready().await.map_err(io::Error::other)
    }

    async fn start<IO>(&self, socket: IO) -> io::Result<SendRequest<Bytes>>
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = Builder::new().initial_connection_window_size(WINDOW).handshake(socket);
        let (requests, connection) = handshake.await.map_err(io::Error::other)?;
        self.made.fetch_add(1, Ordering::Relaxed);
        let gone = Arc::clone(&self.gone);
        // Ends with the connection; what was open on it tells how.
        tokio::spawn(async move {
            let _ = connection.await;
            gone.fetch_add(1, Ordering::Relaxed);
        });
        Ok(requests)
    }
}

/// Ends with the stream, or when its reader is dropped.
async fn translate(response: Response<RecvStream>, mut out: DuplexStream) {
    let chunked = !response.headers().contains_key("content-length");
    if out.write_all(head(&response, chunked).as_bytes()).await.is_err() {
        return;
    }
    let mut body = response.into_body();
    let mut nothing = [0; 1];
    loop {
        let data = tokio::select! {
            data = body.data() => data,
            // The reader never writes: it is gone.
            _ = out.read(&mut nothing) => return,
        };
        let piece = match data {
            // It only carries the end.
            Some(Ok(data)) if data.is_empty() => continue,
            Some(Ok(data)) => {
                // After the write, so that the window is the reader's.
                let piece = if chunked { chunk(&data) } else { data.to_vec() };
                if out.write_all(&piece).await.is_err() || release(&mut body, data.len()).is_err() {
                    return;
                }
                continue;
            }
            Some(Err(_)) => return,
            None if chunked => b"0\r\n\r\n".as_slice(),
            None => b"",
        };
        // The reader may be gone by now.
        let _ = out.write_all(piece).await;
        return;
    }
}

fn release(body: &mut RecvStream, bytes: usize) -> Result<(), h2::Error> {
    body.flow_control().release_capacity(bytes)
}

fn head(response: &Response<RecvStream>, chunked: bool) -> String {
    let mut head = format!("HTTP/1.1 {} by HTTP/2\r\n", response.status().as_u16());
    for (name, value) in response.headers() {
        // Writing into memory does not fail.
        let _ = write!(head, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    head + if chunked { "transfer-encoding: chunked\r\n\r\n" } else { "\r\n" }
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}
