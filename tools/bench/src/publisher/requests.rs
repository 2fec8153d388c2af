//! Requests over HTTP connections that stay, one at a time on each.

use std::io;
use std::net::SocketAddr;

use mio::event::Event;
use mio::{Registry, Token};

use super::Answers;
use super::link::Link;
use fanfare_testkit::body::Body;
use fanfare_testkit::head::Head;

/// One connection.
#[derive(Debug)]
struct Connection {
    link: Link,
    /// The answer so far; its head goes when it is complete.
    answer: Vec<u8>,
    /// The status, whether the connection stays, and the body, once the head is complete.
    head: Option<(u16, bool, Body)>,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Requests {
    address: SocketAddr,
    /// The token of the first.
    first: usize,
    registry: Registry,
    connections: Vec<Connection>,
    /// Those that have nothing to do.
    free: Vec<usize>,
}

impl Requests {
    pub(super) fn open(
        address: SocketAddr,
        connections: usize,
        first: usize,
        registry: &Registry,
    ) -> io::Result<Self> {
        let registry = registry.try_clone()?;
        let open = |at| Connection::open(address, Token(first + at), &registry);
        let connections = (0..connections).map(open).collect::<io::Result<Vec<_>>>()?;
        let free = (0..connections.len()).collect();
        Ok(Self { address, first, registry, connections, free })
    }

    pub(super) fn is_free(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(at) = self.free.pop() else { return Err(io::Error::other("no connection is free")) };
        let connection = &mut self.connections[at];
        connection.link.push(bytes);
        connection.link.flush()
    }

    pub(super) fn on(&mut self, event: &Event, buffer: &mut [u8], answers: &mut Answers) -> io::Result<()> {
        let at = event.token().0 - self.first;
        let Some(connection) = self.connections.get_mut(at) else { return Ok(()) };
        connection.link.flush()?;
        if !event.is_readable() {
            return Ok(());
        }
        let Some((status, stays)) = connection.read(buffer)? else { return Ok(()) };
        if (200..300).contains(&status) {
            answers.accepted += 1;
        } else {
            answers.refuse(format!("status {status}: {}", String::from_utf8_lossy(&connection.answer)));
        }
        connection.answer.clear();
        if !stays {
            *connection = Connection::open(self.address, event.token(), &self.registry)?;
        }
        self.free.push(at);
        Ok(())
    }
}

impl Connection {
    fn open(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        Ok(Self { link: Link::open(address, token, registry)?, answer: Vec::new(), head: None })
    }

    /// Reads all there is; the status and whether the connection stays, if the answer is complete.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<(u16, bool)>> {
        let mut done = None;
        while let Some(length) = self.link.read(buffer)? {
            if length == 0 {
                let ended = match &self.head {
                    Some((status, _, body)) if body.may_end() => Some((*status, false)),
                    _ => done.map(|(status, _)| (status, false)),
                };
                let gone = || io::Error::other("the server closed a publisher's connection");
                return ended.ok_or_else(gone).map(Some);
            }
            done = self.take(&buffer[..length])?.or(done);
        }
        Ok(done)
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<Option<(u16, bool)>> {
        self.answer.extend_from_slice(bytes);
        if self.head.is_none() {
            let parsed = Head::parse(&self.answer).map_err(io::Error::other)?;
            let Some((head, length)) = parsed else { return Ok(None) };
            self.answer.drain(..length);
            let body = Body::of(&head).map_err(io::Error::other)?;
            self.head = Some((head.status, head.keep_alive(), body));
            return self.finish(0);
        }
        self.finish(self.answer.len() - bytes.len())
    }

    /// Shows the body what came after `from`.
    fn finish(&mut self, from: usize) -> io::Result<Option<(u16, bool)>> {
        let Some((status, stays, body)) = &mut self.head else { return Ok(None) };
        body.feed(&self.answer[from..], |_| {}).map_err(io::Error::other)?;
        let done = body.is_finished().then_some((*status, *stays));
        if done.is_some() {
            self.head = None;
        }
        Ok(done)
    }
}
