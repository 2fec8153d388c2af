//! Commands to Redis over one connection, without waiting for replies.

use std::io;
use std::net::SocketAddr;

use mio::event::Event;
use mio::{Registry, Token};

use super::link::Link;
use super::{Answers, reply};

/// The most bytes that may wait to be written.
const FULL: usize = 256 * 1024;

/// One connection.
#[derive(Debug)]
pub(crate) struct Pipeline {
    link: Link,
    /// A reply that is not complete.
    rest: Vec<u8>,
}

impl Pipeline {
    pub(super) fn open(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        Ok(Self { link: Link::open(address, token, registry)?, rest: Vec::new() })
    }

    pub(super) fn is_free(&self) -> bool {
        self.link.waiting() < FULL
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.link.push(bytes);
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.link.flush()
    }

    pub(super) fn on(&mut self, event: &Event, buffer: &mut [u8], answers: &mut Answers) -> io::Result<()> {
        self.flush()?;
        if !event.is_readable() {
            return Ok(());
        }
        while let Some(length) = self.link.read(buffer)? {
            if length == 0 {
                return Err(io::Error::other("Redis closed the connection"));
            }
            self.rest.extend_from_slice(&buffer[..length]);
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
        Ok(())
    }
}
