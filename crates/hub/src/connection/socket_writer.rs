//! Writes of a connection to its socket.

use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use fanfare_broker::session::CloseReason;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::{Framing, Socket, is_unreachable, set_peer_timeout};

/// Room before a chunk for its size line: at most 8 hexadecimal digits, CR and LF.
pub(crate) const CHUNK_HEAD: usize = 10;
/// Maximum number and size of reads that discard a client's input in one turn.
const READS_PER_TURN: usize = 4;
const READ_BYTES: usize = 2048;
/// The last chunk of a clean end (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The socket, with the bytes that it has not accepted yet.
pub(crate) struct SocketWriter {
    socket: Box<dyn Socket>,
    /// File descriptor of a socket that may be written to directly. Closed with the socket.
    descriptor: Option<RawFd>,
    framing: Framing,
    /// Encoded bytes that the socket has not accepted; they start at `taken`. Freed when empty.
    rest: Vec<u8>,
    taken: usize,
    /// Bytes that the socket accepted since they were last taken.
    sent: usize,
    /// Whether the client has closed its sending half.
    half_closed: bool,
}

/// Result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteResult {
    /// All bytes were accepted.
    All,
    /// The socket is full. The rest is kept here or in the socket's buffer, and the waker is called when there is
    /// room.
    Full {
        /// Whether some bytes were accepted.
        some: bool,
    },
    /// The connection is broken.
    Broken(CloseReason),
}

/// Change of the client's side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerClose {
    /// The client has closed its sending half. Only a write shows whether it still reads (RFC 9112, section 9.6).
    HalfClosed,
    /// The connection is broken.
    Broken(CloseReason),
}

impl SocketWriter {
    /// Creates a writer that writes `head` first.
    pub(crate) fn new(socket: Box<dyn Socket>, framing: Framing, head: &[u8]) -> Self {
        Self {
            descriptor: socket.descriptor(),
            socket,
            framing,
            rest: head.to_vec(),
            taken: 0,
            sent: 0,
            half_closed: false,
        }
    }

    /// Sets how long bytes may be unacknowledged before the kernel closes the connection.
    pub(crate) fn set_peer_timeout(&self, timeout: Option<Duration>) {
        set_peer_timeout(&*self.socket, timeout);
    }

    /// Returns the number of bytes kept here.
    pub(crate) fn waiting(&self) -> usize {
        self.rest.len() - self.taken
    }

    /// Returns the bytes that the socket accepted since the last call.
    pub(crate) fn take_sent(&mut self) -> usize {
        std::mem::take(&mut self.sent)
    }

    /// Writes the bytes kept here.
    pub(crate) fn write_rest(&mut self, cx: &mut Context<'_>) -> WriteResult {
        let rest = std::mem::take(&mut self.rest);
        let written = self.write(&rest, self.taken, cx);
        if matches!(written, WriteResult::Full { .. }) && self.rest.is_empty() {
            self.rest = rest;
        }
        written
    }

    /// Writes one batch of the body, which begins with [`CHUNK_HEAD`] bytes of room. No bytes may be kept here.
    pub(crate) fn write_batch(&mut self, batch: &mut Vec<u8>, cx: &mut Context<'_>) -> WriteResult {
        let start = self.frame(batch);
        self.taken = start;
        let written = self.write(batch, start, cx);
        if matches!(written, WriteResult::Full { .. }) {
            self.rest = batch[self.taken..].to_vec();
            self.taken = 0;
        }
        written
    }

    /// Frames a batch that begins with [`CHUNK_HEAD`] bytes of room. Returns where the framed batch begins.
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

    /// Appends a batch to the bytes kept here. It begins with [`CHUNK_HEAD`] bytes of room, and may be empty.
    pub(crate) fn append(&mut self, batch: &mut Vec<u8>) {
        // An empty chunk would end the body.
        if batch.len() > CHUNK_HEAD {
            let start = self.frame(batch);
            self.rest.extend_from_slice(&batch[start..]);
        }
    }

    /// Ends the body after a last batch, which begins with [`CHUNK_HEAD`] bytes of room.
    pub(crate) fn finish(&mut self, batch: &mut Vec<u8>) {
        self.append(batch);
        if self.framing == Framing::Chunked {
            self.rest.extend_from_slice(LAST_CHUNK);
        }
    }

    /// Closes the node's side of the socket.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.socket).poll_shutdown(cx).map(|_| ())
    }

    /// Returns whether the client has closed its sending half, as far as the input was read.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// Returns whether the client has closed its side, or the connection is broken; each is reported once. Input on a
    /// stream has no meaning and is discarded, a little at a time, so that a client that sends continuously does not
    /// delay others.
    pub(crate) fn poll_peer_close(&mut self, cx: &mut Context<'_>) -> Poll<PeerClose> {
        if self.half_closed {
            return Poll::Pending;
        }
        let mut scratch = [0; READ_BYTES];
        for _ in 0..READS_PER_TURN {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                // A TLS client may close its half without close_notify.
                Poll::Ready(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(PeerClose::Broken(ended_by(&error)));
                }
                Poll::Ready(_) => {
                    self.half_closed = true;
                    return Poll::Ready(PeerClose::HalfClosed);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends bytes to a socket with a file descriptor, as far as the kernel accepts them at once. Returns their
    /// number.
    ///
    /// The kernel accepts nearly every write completely. Tokio's readiness state is another cache line to fetch, so
    /// tokio is used only if the kernel accepted less, and registers the waker then. Errors are returned here, since
    /// the kernel reports an error only once.
    fn try_send(&self, bytes: &[u8]) -> Result<usize, CloseReason> {
        let Some(descriptor) = self.descriptor.filter(|_| !bytes.is_empty()) else { return Ok(0) };
        match send(descriptor, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS | Errno::ENOMEM) => Ok(0),
            Err(errno) => Err(ended_by(&errno.into())),
        }
    }

    /// Writes `bytes` from `start`; `taken` is set to the end of the accepted bytes.
    fn write(&mut self, bytes: &[u8], start: usize, cx: &mut Context<'_>) -> WriteResult {
        let mut at = match self.try_send(&bytes[start..]) {
            Ok(sent) => start + sent,
            Err(reason) => return WriteResult::Broken(reason),
        };
        self.sent += at - start;
        if self.descriptor.is_some() && at == bytes.len() {
            self.taken = 0;
            return WriteResult::All;
        }
        while at < bytes.len() {
            match Pin::new(&mut self.socket).poll_write(cx, &bytes[at..]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    at += n;
                    self.sent += n;
                }
                Poll::Ready(Ok(_)) => return WriteResult::Broken(CloseReason::Closed),
                Poll::Ready(Err(error)) => return WriteResult::Broken(ended_by(&error)),
                Poll::Pending => {
                    self.taken = at;
                    return WriteResult::Full { some: at > start };
                }
            }
        }
        // A buffering socket, as with TLS, may keep accepted bytes, and must be flushed.
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.taken = 0;
                WriteResult::All
            }
            Poll::Ready(Err(error)) => WriteResult::Broken(ended_by(&error)),
            Poll::Pending => {
                self.taken = at;
                WriteResult::Full { some: at > start }
            }
        }
    }
}

/// Returns the close reason for an error of the socket.
fn ended_by(error: &io::Error) -> CloseReason {
    if is_unreachable(error) { CloseReason::PeerTimeout } else { CloseReason::Closed }
}

/// Writes the size line of a chunk (RFC 9112, section 7.1) directly before its bytes. Returns where the line begins.
fn write_size(batch: &mut [u8]) -> usize {
    let mut size = batch.len() - CHUNK_HEAD;
    let mut start = CHUNK_HEAD - 2;
    batch[start..CHUNK_HEAD].copy_from_slice(b"\r\n");
    // A batch is far smaller than eight digits allow.
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
