//! Commands to Redis over one connection, without waiting for replies.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::{Answers, reply};

/// The most bytes that may wait to be written.
const FULL: usize = 256 * 1024;

/// One connection.
#[derive(Debug)]
pub(in crate::bench) struct Pipeline {
    socket: TcpStream,
    /// Commands that are not written yet.
    out: Vec<u8>,
    /// A reply that is not complete.
    rest: Vec<u8>,
}

impl Pipeline {
    pub(super) fn open(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        let socket = std::net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, out: Vec::new(), rest: Vec::new() })
    }

    pub(super) fn is_free(&self) -> bool {
        self.out.len() < FULL
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(length) => {
                    self.out.drain(..length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn on(&mut self, event: &Event, buffer: &mut [u8], answers: &mut Answers) -> io::Result<()> {
        self.flush()?;
        if !event.is_readable() {
            return Ok(());
        }
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::Error::other("Redis closed the connection")),
                Ok(length) => self.rest.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            let mut at = 0;
            while let Some(reply) = reply::first(&self.rest[at..])? {
                at += reply.length;
                match reply.error {
                    None => answers.accepted += 1,
                    Some(error) => answers.refuse(String::from_utf8_lossy(error).into_owned()),
                }
            }
            self.rest.drain(..at);
        }
    }
}
