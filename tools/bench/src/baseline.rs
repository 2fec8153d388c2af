//! The baseline server: accepts connections, then performs one `write()` for each socket and event, and nothing else.
//!
//! Its cost is the machine's cost of delivery, and the lower bound of every benchmark. One thread, blocking sockets,
//! no channels, no log: `GET /any?user=<n>` opens a stream, `POST /any` publishes to all streams, `POST
//! /any?user=<n>` to one. The body is the event's data; it is sent like Fanfare sends it, in a chunk with an `id:`
//! line.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Maximum size of a request, in bytes.
const MAX_REQUEST: usize = 128 * 1024;
/// Maximum number of header fields of a request.
const MAX_FIELDS: usize = 32;
/// An `id:` as long as a position in a log.
const ID: &str = "1700000000000-0";
/// The answer to a stream's request.
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
    x-accel-buffering: no\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
/// The answer to a publisher's.
const DONE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// The server.
#[derive(Debug)]
pub struct Baseline {
    listener: TcpListener,
    /// Connections without a stream: those of publishers, and new ones.
    talking: Vec<Connection>,
    /// The streams; the stream of a user is at the user's index.
    streams: Vec<Option<TcpStream>>,
}

/// A connection that may send requests.
#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    /// Received bytes of an incomplete request.
    text: Vec<u8>,
}

/// A request.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    /// Whether it requests a stream.
    stream: bool,
    user: Option<usize>,
    body: &'a [u8],
    /// Its length.
    length: usize,
}

/// Result of handling a connection that was ready.
enum Outcome {
    Stays,
    /// The connection is a stream now.
    Streams(Option<usize>),
    Gone,
}

impl Baseline {
    /// Binds the address; port 0 picks any free port.
    ///
    /// # Errors
    ///
    /// Fails if it cannot.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address)?, talking: Vec::new(), streams: Vec::new() })
    }

    /// Returns the listen address.
    ///
    /// # Errors
    ///
    /// Fails if the socket is gone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves forever.
    ///
    /// # Errors
    ///
    /// Fails if it can accept no more.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let (accept, ready) = self.wait()?;
            for at in ready.into_iter().rev() {
                match self.talking[at].serve(&mut self.streams) {
                    Outcome::Stays => {}
                    Outcome::Gone => drop(self.talking.swap_remove(at)),
                    Outcome::Streams(user) => {
                        let connection = self.talking.swap_remove(at);
                        self.keep(connection.socket, user);
                    }
                }
            }
            if accept {
                let (socket, _) = self.listener.accept()?;
                socket.set_nodelay(true)?;
                self.talking.push(Connection { socket, text: Vec::new() });
            }
        }
    }

    /// Waits until a connection can be accepted or a connection has sent data.
    fn wait(&self) -> io::Result<(bool, Vec<usize>)> {
        let sockets = self.talking.iter().map(|connection| connection.socket.as_fd());
        let mut all: Vec<PollFd<'_>> = [self.listener.as_fd()]
            .into_iter()
            .chain(sockets)
            .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
            .collect();
        poll(&mut all, PollTimeout::NONE)?;
        let mut ready = all.iter().map(|socket| socket.any().unwrap_or(true));
        let accept = ready.next().unwrap_or_default();
        Ok((accept, ready.enumerate().filter(|(_, ready)| *ready).map(|(at, _)| at).collect()))
    }

    fn keep(&mut self, mut socket: TcpStream, user: Option<usize>) {
        if socket.write_all(STREAM).is_err() {
            return;
        }
        let at = user.unwrap_or(self.streams.len());
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
        }
        self.streams[at] = Some(socket);
    }
}

impl Connection {
    /// Reads once and answers every request that is complete.
    fn serve(&mut self, streams: &mut [Option<TcpStream>]) -> Outcome {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => return Outcome::Gone,
            Ok(length) => self.text.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Outcome::Stays,
            Err(_) => return Outcome::Gone,
        }
        loop {
            let length = match Request::parse(&self.text) {
                Err(()) => return Outcome::Gone,
                Ok(None) => return Outcome::Stays,
                Ok(Some(Request { stream: true, user, .. })) => return Outcome::Streams(user),
                Ok(Some(request)) => {
                    deliver(&request, streams);
                    request.length
                }
            };
            self.text.drain(..length);
            if self.socket.write_all(DONE).is_err() {
                return Outcome::Gone;
            }
        }
    }
}

/// Performs one `write()` for each socket. Drops streams that cannot be written to.
fn deliver(request: &Request<'_>, streams: &mut [Option<TcpStream>]) {
    let block = block(request.body);
    let to = match request.user {
        None => streams,
        Some(user) => streams.get_mut(user..=user).unwrap_or_default(),
    };
    for place in to {
        if place.as_mut().is_some_and(|socket| socket.write_all(&block).is_err()) {
            *place = None;
        }
    }
}

/// Returns the event in its chunk.
fn block(data: &[u8]) -> Vec<u8> {
    let mut event = format!("id: {ID}\n").into_bytes();
    for line in data.split(|byte| *byte == b'\n') {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
    chunk.extend_from_slice(&event);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

impl<'a> Request<'a> {
    /// Returns the request at the start; `None` while it is not complete, an error if it never will be.
    fn parse(text: &'a [u8]) -> Result<Option<Self>, ()> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(head) = request.parse(text).map_err(|_| ())? else {
            return if text.len() > MAX_REQUEST { Err(()) } else { Ok(None) };
        };
        let length = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let body = match length {
            None => 0,
            Some(field) => {
                std::str::from_utf8(field.value).ok().and_then(|text| text.parse().ok()).ok_or(())?
            }
        };
        if body > MAX_REQUEST {
            return Err(());
        }
        let Some(body) = text.get(head..head + body) else { return Ok(None) };
        let user = request.path.and_then(|path| path.split_once("user=")?.1.parse().ok());
        let stream = request.method == Some("GET");
        Ok(Some(Self { stream, user, body, length: head + body.len() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_it_is_complete() {
        let text = b"POST /p?user=7 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET";
        let length = text.len() - 3;
        for cut in 0..length {
            assert_eq!(Request::parse(&text[..cut]), Ok(None), "cut at {cut}");
        }
        let wanted = Request { stream: false, user: Some(7), body: b"hi", length };
        assert_eq!(Request::parse(text), Ok(Some(wanted)));
        let stream = Request::parse(b"GET / HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!((stream.stream, stream.user), (true, None));
        assert_eq!(Request::parse(b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), Err(()));
    }

    #[test]
    fn an_event_is_framed_as_fanfare_frames_it() {
        let text = String::from_utf8(block(b"a\nb")).unwrap();
        assert_eq!(text, "25\r\nid: 1700000000000-0\ndata: a\ndata: b\n\n\r\n");
    }
}
