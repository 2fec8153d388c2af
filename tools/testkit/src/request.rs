//! A request for a stream.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::Url;
use tokio::io::AsyncWriteExt;

use crate::http2::Http2;
use crate::tcp;
use crate::transport::{Socket, Transport};

/// `GET /v1/events`, to be sent. What it asks for stays the same over reconnects, as a native `EventSource`'s URL does.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    to: SocketAddr,
    transport: Transport,
    /// Where to connect from; any address if none.
    from: Option<Ipv4Addr>,
    pairs: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    /// The size of the socket's receive buffer; the system's choice if none.
    receive_buffer: Option<u32>,
}

impl StreamRequest {
    /// Returns a request for a stream from this address.
    pub fn to(to: SocketAddr) -> Self {
        Self {
            to,
            transport: Transport::Clear,
            from: None,
            pairs: Vec::new(),
            headers: Vec::new(),
            receive_buffer: None,
        }
    }

    /// The same from another node.
    pub fn move_to(&mut self, to: SocketAddr) {
        self.to = to;
    }

    /// By which way.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// By HTTP/2, on the connection that other streams have.
    #[must_use]
    pub fn http2(self, connections: &Http2) -> Self {
        self.over(Transport::Http2(connections.clone()))
    }

    /// Any parameter.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.pairs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a parameter.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.pairs.retain(|(other, _)| other != name);
        self
    }

    /// Who asks, with `--auth none`.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.parameter("user", user)
    }

    /// A channel to follow.
    #[must_use]
    pub fn channel(self, channel: &str) -> Self {
        self.parameter("channel", channel)
    }

    /// Some channels to follow.
    #[must_use]
    pub fn channels(self, channels: &[impl AsRef<str>]) -> Self {
        channels.iter().fold(self, |request, channel| request.channel(channel.as_ref()))
    }

    /// The client's session.
    #[must_use]
    pub fn session(self, session: &str) -> Self {
        self.parameter("session", session)
    }

    /// Where to begin.
    #[must_use]
    pub fn after(self, after: &str) -> Self {
        self.parameter("after", after)
    }

    /// Any header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Accepts a stream that is compressed.
    #[must_use]
    pub fn gzip(self) -> Self {
        self.header("Accept-Encoding", "gzip")
    }

    /// A bearer token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Connects from this loopback address: each has its own source ports.
    #[must_use]
    pub fn from(mut self, from: Ipv4Addr) -> Self {
        self.from = Some(from);
        self
    }

    /// Lets the system keep little for this client while it does not read.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// A connected socket on which the request was written.
    pub(crate) async fn write(&self, last_id: &str) -> std::io::Result<Socket> {
        let connect = tcp::connect(self.to, self.from, self.receive_buffer);
        let text = self.text(last_id);
        Ok(match &self.transport {
            Transport::Clear => {
                let mut socket = connect.await?;
                socket.write_all(text.as_bytes()).await?;
                Socket::Clear(socket)
            }
            Transport::Tls(certificate) => {
                let mut socket = tcp::tls_handshake(certificate, &["http/1.1"], connect.await?).await?;
                socket.write_all(text.as_bytes()).await?;
                Socket::Tls(Box::new(socket))
            }
            Transport::Http2(connections) => {
                let headers = self.headers(last_id);
                Socket::Http2(connections.send(self.to, &self.target(), &headers).await?)
            }
        })
    }

    /// Path and query.
    fn target(&self) -> String {
        let base = format!("http://{}/v1/events", self.to);
        let url = Url::parse_with_params(&base, &self.pairs).expect("an address makes a URL");
        let query = url.query().filter(|query| !query.is_empty()).map(|query| format!("?{query}"));
        format!("{}{}", url.path(), query.unwrap_or_default())
    }

    fn headers(&self, last_id: &str) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![pair("Accept", "text/event-stream")];
        if !last_id.is_empty() {
            headers.push(pair("Last-Event-ID", last_id));
        }
        headers.extend_from_slice(&self.headers);
        headers
    }

    fn text(&self, last_id: &str) -> String {
        let mut text = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", self.target(), self.to);
        for (name, value) in self.headers(last_id) {
            text.extend([name, ": ".to_owned(), value, "\r\n".to_owned()]);
        }
        text + "\r\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded_and_the_last_id_is_a_header() {
        let request = StreamRequest::to(([127, 0, 0, 1], 80).into()).channel("a&b=c").header("X", "y");
        let text = request.text("5-1");
        assert!(text.starts_with("GET /v1/events?channel=a%26b%3Dc HTTP/1.1\r\nHost: 127.0.0.1:80\r\n"));
        assert!(text.ends_with("Last-Event-ID: 5-1\r\nX: y\r\n\r\n"));
    }
}
