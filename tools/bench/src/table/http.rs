//! Requests over blocking sockets, for what is timed one by one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection for one request after the other.
pub(super) struct Exchange {
    socket: TcpStream,
    address: SocketAddr,
    received: Vec<u8>,
}

/// A request whose answer was not read yet.
#[must_use]
pub(super) struct Sent<'a>(&'a mut Exchange);

/// The answer of a live reader or stream.
pub(super) struct Response {
    socket: TcpStream,
    received: Vec<u8>,
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Reads until the bytes contain a text; returns the place behind it.
fn read_until(socket: &mut TcpStream, received: &mut Vec<u8>, text: &str) -> anyhow::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    loop {
        if let Some(at) = memchr::memmem::find(received, text.as_bytes()) {
            return Ok(at + text.len());
        }
        match socket.read(&mut buffer) {
            Ok(0) => anyhow::bail!("the connection ended before {text:?}"),
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Exchange {
    /// Connects.
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { socket: connect(address)?, address, received: Vec::new() })
    }

    /// Makes a request with these header lines, and returns the status of its answer.
    pub(super) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<u16> {
        self.send(method, path, headers, body)?.finish()
    }

    /// Sends a request.
    pub(super) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<Sent<'_>> {
        let (address, length) = (self.address, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        self.socket.write_all(request.as_bytes())?;
        Ok(Sent(self))
    }
}

impl Sent<'_> {
    /// Reads the answer, and returns its status.
    pub(super) fn finish(self) -> anyhow::Result<u16> {
        let Exchange { socket, received, .. } = self.0;
        let head = read_until(socket, received, "\r\n\r\n")?;
        let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        let end = head + length.unwrap_or(0_usize);
        while received.len() < end {
            let mut buffer = vec![0; end - received.len()];
            socket.read_exact(&mut buffer)?;
            received.extend_from_slice(&buffer);
        }
        received.drain(..end);
        status.ok_or_else(|| anyhow::anyhow!("an answer without a status: {text}"))
    }
}

impl Response {
    /// Sends a GET request, and waits for a text in the answer.
    pub(super) fn open(address: SocketAddr, path: &str, ready: &str) -> anyhow::Result<Self> {
        let mut socket = connect(address)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        let mut response = Self { socket, received: Vec::new() };
        response.wait_for(ready)?;
        Ok(response)
    }

    /// Reads until a text comes, and forgets what was before it.
    pub(super) fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        let end = read_until(&mut self.socket, &mut self.received, text)?;
        self.received.drain(..end);
        Ok(())
    }
}
