//! One connection of the publisher, which never waits for it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// A connection, and what is to be written to it.
#[derive(Debug)]
pub(super) struct Link {
    socket: TcpStream,
    /// What is not written yet.
    out: Vec<u8>,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Fails if the connection cannot be made.
    pub(super) fn open(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<Self> {
        let socket = std::net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, out: Vec::new() })
    }

    /// Returns how many bytes wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Lays bytes by for [`flush`](Self::flush).
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes as much as the connection takes now.
    ///
    /// # Errors
    ///
    /// Fails if it is gone.
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

    /// Reads once: how many bytes, 0 at the end of the connection; none if there is nothing to read now.
    ///
    /// # Errors
    ///
    /// Fails if it is gone.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.socket.read(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
