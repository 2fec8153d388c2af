//! Input that HTTP/1.1 has read and no request has taken yet, and the memory for it.
//!
//! hyper reads more only when its buffer has neither a complete head nor a part of the body of the request in flight. So the
//! buffer holds an incomplete head, or at most one read: pipelined requests, or a part of a body. A part of a body is charged by
//! its reader, since both are the same memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::{Account, Kind, NoRoom, Permit};

/// Bytes read ahead that are part of the connection's own memory ([`crate::memory::CONNECTION`]); more take a permit.
const FREE: usize = 8 * 1024;

/// The input read ahead on one connection. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ReadAhead(Arc<Mutex<Ahead>>);

#[derive(Debug)]
struct Ahead {
    /// Maximum number of bytes in the buffer.
    bytes: usize,
    /// Those of them that a request which begins now leaves in the buffer.
    last: usize,
    /// Whether the request in flight has a body that is not read to its end.
    in_body: bool,
    permit: Permit,
}

/// What became of requests since the last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requests {
    /// One is in flight, so the buffer was empty.
    InFlight,
    /// At least one has begun and ended.
    Ended,
    /// None has begun: the buffer has an incomplete head.
    None,
}

impl ReadAhead {
    pub(super) fn new(account: &Account) -> Self {
        let permit = account.permit(Kind::Requests);
        Self(Arc::new(Mutex::new(Ahead { bytes: 0, last: 0, in_body: false, permit })))
    }

    /// Counts a read of HTTP/1.1.
    ///
    /// # Errors
    ///
    /// Fails if there is no memory for the bytes.
    pub(super) fn read(&self, bytes: usize, requests: Requests) -> Result<(), NoRoom> {
        let mut ahead = self.lock();
        let left = match requests {
            Requests::InFlight => 0,
            Requests::Ended => ahead.last,
            Requests::None => ahead.bytes,
        };
        ahead.last = bytes;
        ahead.set(left + bytes)
    }

    /// Sets the number of bytes read ahead.
    ///
    /// # Errors
    ///
    /// Fails if there is no memory for them.
    pub(super) fn set(&self, bytes: usize) -> Result<(), NoRoom> {
        self.lock().set(bytes)
    }

    /// Handles the start of a request with a body.
    pub(super) fn begin_body(&self) {
        let mut ahead = self.lock();
        ahead.in_body = true;
        ahead.permit.clear();
    }

    /// Counts bytes of the body that were taken out of the buffer.
    pub(super) fn take_body(&self, bytes: usize) {
        let mut ahead = self.lock();
        ahead.bytes = ahead.bytes.saturating_sub(bytes);
        ahead.last = ahead.last.saturating_sub(bytes);
    }

    /// Handles the end of the body, or of its reader. The rest of the buffer is charged now. If there is no memory for it, the next
    /// read fails.
    pub(super) fn end_body(&self) {
        let mut ahead = self.lock();
        ahead.in_body = false;
        ahead.bytes = ahead.bytes.min(ahead.last);
        let rest = ahead.bytes;
        let _ = ahead.set(rest);
    }

    fn lock(&self) -> MutexGuard<'_, Ahead> {
        // Each change leaves a consistent count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ahead {
    fn set(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.bytes = bytes;
        if self.in_body {
            return Ok(());
        }
        if bytes <= FREE {
            self.permit.clear();
            return Ok(());
        }
        self.permit.grow(bytes.saturating_sub(self.permit.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    fn ahead() -> (ReadAhead, Account) {
        let account = Memory::new(8 * 1024 * 1024).account(None);
        (ReadAhead::new(&account), account)
    }

    fn charged(ahead: &ReadAhead) -> usize {
        ahead.lock().permit.bytes()
    }

    #[test]
    fn an_incomplete_head_and_pipelined_requests_are_charged() {
        let (ahead, _account) = ahead();
        ahead.read(6000, Requests::None).unwrap();
        assert_eq!(charged(&ahead), 0);
        ahead.read(6000, Requests::None).unwrap();
        assert_eq!(charged(&ahead), 12_000);
        // The request took its head; the last read may have more.
        ahead.read(9000, Requests::Ended).unwrap();
        assert_eq!(charged(&ahead), 15_000);
        ahead.read(100, Requests::InFlight).unwrap();
        assert_eq!(charged(&ahead), 0);
    }

    #[test]
    fn a_body_is_charged_by_its_reader_only_and_leaves_nothing() {
        let (ahead, _account) = ahead();
        ahead.read(40_000, Requests::None).unwrap();
        assert_eq!(charged(&ahead), 40_000);
        ahead.begin_body();
        assert_eq!(charged(&ahead), 0);
        ahead.take_body(39_500);
        ahead.read(40_000, Requests::InFlight).unwrap();
        ahead.take_body(40_000);
        ahead.end_body();
        assert_eq!(charged(&ahead), 0, "nothing is left");
        // The next request on the connection.
        ahead.read(500, Requests::Ended).unwrap();
        assert_eq!(ahead.lock().bytes, 500);
    }

    #[test]
    fn what_was_pipelined_behind_a_body_is_charged_when_the_body_ends() {
        let (ahead, _account) = ahead();
        ahead.read(500, Requests::None).unwrap();
        ahead.begin_body();
        ahead.read(40_000, Requests::InFlight).unwrap();
        ahead.take_body(10_000);
        ahead.end_body();
        assert_eq!(charged(&ahead), 30_000);
    }
}
