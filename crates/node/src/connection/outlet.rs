//! The way of a connection's bytes to its socket.

use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ending::Ending;
use crate::stream::{Framing, Socket, set_peer_timeout};

/// Room in front of a chunk for its size line: at most 8 hexadecimal digits, CR and LF.
pub(crate) const CHUNK_HEAD: usize = 10;
/// How much of what a client sends is thrown away before others get their turn: so many reads of so many bytes.
const READS_A_TURN: usize = 4;
const READ_BYTES: usize = 2048;
/// The last chunk of a clean end (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The socket, and the bytes that it did not take yet.
pub(crate) struct Outlet {
    socket: Box<dyn Socket>,
    /// Of a socket that may be written to as it is. Closed with it.
    descriptor: Option<RawFd>,
    framing: Framing,
    /// Encoded and not taken; begins at `taken`. Given back when it is empty.
    rest: Vec<u8>,
    taken: usize,
    /// Whether the client has closed its sending half.
    half_closed: bool,
}

/// What became of an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything was taken.
    All,
    /// The socket is full; the rest waits here or in a buffer of the socket's own, and the waker is called when there
    /// is room.
    Full {
        /// Whether it took anything.
        some: bool,
    },
    /// The connection is broken.
    Broken(Ending),
}

/// What the client did to its side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It has closed its sending half. Whether it still reads cannot be told from that (RFC 9112, section 9.6): only a
    /// write shows.
    HalfClosed,
    /// The connection is broken.
    Broken(Ending),
}

impl Outlet {
    /// Creates an outlet that writes `head` before anything else.
    pub(crate) fn new(socket: Box<dyn Socket>, framing: Framing, head: &[u8]) -> Self {
        Self {
            descriptor: socket.descriptor(),
            socket,
            framing,
            rest: head.to_vec(),
            taken: 0,
            half_closed: false,
        }
    }

    /// Sets how long the client may leave bytes unacknowledged before the kernel gives it up.
    pub(crate) fn set_peer_timeout(&self, timeout: Option<Duration>) {
        set_peer_timeout(&*self.socket, timeout);
    }

    /// Returns how many bytes wait here.
    pub(crate) fn waiting(&self) -> usize {
        self.rest.len() - self.taken
    }

    /// Writes what waits.
    pub(crate) fn write_rest(&mut self, cx: &mut Context<'_>) -> Written {
        let rest = std::mem::take(&mut self.rest);
        let written = self.write(&rest, self.taken, cx);
        if matches!(written, Written::Full { .. }) && self.rest.is_empty() {
            self.rest = rest;
        }
        written
    }

    /// Writes one batch of the body. `batch` begins with [`CHUNK_HEAD`] bytes of room. Nothing may wait.
    pub(crate) fn write_batch(&mut self, batch: &mut Vec<u8>, cx: &mut Context<'_>) -> Written {
        let start = self.frame(batch);
        self.taken = start;
        let written = self.write(batch, start, cx);
        if matches!(written, Written::Full { .. }) {
            self.rest = batch[self.taken..].to_vec();
            self.taken = 0;
        }
        written
    }

    /// Frames a batch that begins with [`CHUNK_HEAD`] bytes of room. Answers where it begins then.
    fn frame(&self, batch: &mut Vec<u8>) -> usize {
        match self.framing {
            Framing::Plain => CHUNK_HEAD,
            Framing::Chunked => {
                let start = write_size(batch);
                batch.extend_from_slice(b"\r\n");
                start
            }
        }
    }

    /// Lets a batch wait behind what waits. It begins with [`CHUNK_HEAD`] bytes of room, and may be empty.
    pub(crate) fn append(&mut self, batch: &mut Vec<u8>) {
        // A chunk without bytes would be the last.
        if batch.len() > CHUNK_HEAD {
            let start = self.frame(batch);
            self.rest.extend_from_slice(&batch[start..]);
        }
    }

    /// Ends the body, after everything written so far and a last batch, which begins with [`CHUNK_HEAD`] bytes of room.
    pub(crate) fn finish(&mut self, batch: &mut Vec<u8>) {
        self.append(batch);
        if self.framing == Framing::Chunked {
            self.rest.extend_from_slice(LAST_CHUNK);
        }
    }

    /// Closes our side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.socket).poll_shutdown(cx).map(|_| ())
    }

    /// Returns whether the client has closed its sending half, by what was read so far.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// Returns whether the client has closed its side, or the connection is broken. Each is told once. What a client
    /// sends on a stream means nothing and is thrown away, a little at a time: one that never stops must not hold up
    /// the others.
    pub(crate) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<Left> {
        if self.half_closed {
            return Poll::Pending;
        }
        let mut scratch = [0; READ_BYTES];
        for _ in 0..READS_A_TURN {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // A TLS client that closes its half without close_notify has closed it all the same.
                Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Left::Broken(ended_by(&error)));
                }
                Poll::Ready(_) => {
                    self.half_closed = true;
                    return Poll::Ready(Left::HalfClosed);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends what the kernel takes at once of a socket that has a descriptor. Answers how much that was.
    ///
    /// Nearly every write is taken at once. What tokio keeps of each socket's readiness is one more place in memory to
    /// fetch, so it is asked only when the kernel took less, and tells then who waits. What is wrong with the connection
    /// is told here, since the kernel says it once.
    fn try_send(&self, bytes: &[u8]) -> Result<usize, Ending> {
        let Some(descriptor) = self.descriptor.filter(|_| !bytes.is_empty()) else { return Ok(0) };
        match send(descriptor, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM) => Ok(0),
            Err(errno) => Err(ended_by(&errno.into())),
        }
    }

    /// Writes `bytes` from `start`; `taken` says how far it came.
    fn write(&mut self, bytes: &[u8], start: usize, cx: &mut Context<'_>) -> Written {
        let mut at = match self.try_send(&bytes[start..]) {
            Ok(sent) => start + sent,
            Err(ending) => return Written::Broken(ending),
        };
        if self.descriptor.is_some() && at == bytes.len() {
            self.taken = 0;
            return Written::All;
        }
        while at < bytes.len() {
            match Pin::new(&mut self.socket).poll_write(cx, &bytes[at..]) {
                Poll::Ready(Ok(n)) if n > 0 => at += n,
                Poll::Ready(Ok(_)) => return Written::Broken(Ending::Closed),
                Poll::Ready(Err(error)) => return Written::Broken(ended_by(&error)),
                Poll::Pending => {
                    self.taken = at;
                    return Written::Full { some: at > start };
                }
            }
        }
        // A socket that buffers, as with TLS, may hold back what it took; nobody but us makes it go on.
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.taken = 0;
                Written::All
            }
            Poll::Ready(Err(error)) => Written::Broken(ended_by(&error)),
            Poll::Pending => {
                self.taken = at;
                Written::Full { some: at > start }
            }
        }
    }
}

/// Returns how a stream ended whose socket says this: a peer that answers nothing is one that vanished.
fn ended_by(error: &io::Error) -> Ending {
    let unreachable =
        [io::ErrorKind::TimedOut, io::ErrorKind::HostUnreachable, io::ErrorKind::NetworkUnreachable];
    if unreachable.contains(&error.kind()) { Ending::PeerTimeout } else { Ending::Closed }
}

/// Writes the size line of a chunk (RFC 9112, section 7.1) right before its bytes. Answers where it begins.
fn write_size(batch: &mut [u8]) -> usize {
    let mut size = batch.len() - CHUNK_HEAD;
    let mut start = CHUNK_HEAD - 2;
    batch[start..CHUNK_HEAD].copy_from_slice(b"\r\n");
    // A batch is far smaller than what eight digits can say.
    loop {
        start -= 1;
        batch[start] = b"0123456789abcdef"[size % 16];
        size /= 16;
        if size == 0 || start == 0 {
            return start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_line_stands_right_before_the_chunk() {
        for size in [0, 1, 9, 10, 15, 16, 255, 256, 4096, 65_535, 1_048_576] {
            let mut batch = vec![b'x'; CHUNK_HEAD + size];
            let start = write_size(&mut batch);
            assert_eq!(&batch[start..CHUNK_HEAD], format!("{size:x}\r\n").as_bytes());
        }
    }
}
