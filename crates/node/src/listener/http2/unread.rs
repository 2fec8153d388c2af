//! Memory for parts of bodies that HTTP/2 has received and no handler has read yet.
//!
//! h2 keeps what a client sends within its flow control windows, before a handler runs. So an open body is charged for its
//! window in advance, and all bodies of a connection together for at most the connection's window. What a handler has read
//! is charged by the handler.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_config::limits::MEMORY_CONNECTIONS;
use fanfare_config::{Config, bytes};

use crate::memory::{self, Account, Kind, NoRoom, Permit};

/// Maximum window of one body, in bytes.
const BODY: u32 = 128 * 1024;
/// Window of a connection in windows of a body: so many clients can send at their full rate.
const BODIES: u32 = 4;
/// Minimum window of a connection, in bytes (RFC 9113, section 6.9.2).
const LEAST: u32 = 65_535;

/// Flow control windows that clients get, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Window of one body.
    pub(super) body: u32,
    /// Window of a connection.
    pub(super) connection: u32,
}

impl Windows {
    /// Returns the windows for `limits.memory`: that of a connection is at most half of the connection's share.
    pub(in crate::listener) fn new(config: &Config) -> Self {
        let share = memory::budget(bytes(config.limits.memory)) / MEMORY_CONNECTIONS;
        let body = u32::try_from(share / 8).unwrap_or(BODY).clamp(1, BODY);
        Self { body, connection: (body * BODIES).max(LEAST) }
    }
}

/// The open bodies of one connection. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct UnreadBodies {
    windows: Windows,
    account: Account,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    /// Sum of the windows of all open bodies.
    open: usize,
    /// Sum of `permits`: at least the smaller of `open` and the connection's window.
    charged: usize,
    permits: Vec<Permit>,
}

/// The window of one open body. Released when it is dropped.
#[derive(Debug)]
pub(super) struct Window {
    bodies: UnreadBodies,
    bytes: usize,
}

impl UnreadBodies {
    pub(super) fn new(windows: Windows, account: Account) -> Self {
        Self { windows, account, held: Arc::default() }
    }

    /// Charges one more body, of this length if the client sent it, which h2 enforces.
    ///
    /// # Errors
    ///
    /// Fails if there is no memory for the body's window.
    pub(super) fn open(&self, length: Option<u64>) -> Result<Window, NoRoom> {
        let window = self.windows.body as usize;
        let bytes = length.and_then(|length| usize::try_from(length).ok()).map_or(window, |l| l.min(window));
        let mut held = self.lock();
        let needed = self.needed(held.open + bytes);
        if needed > held.charged {
            let permit = self.account.take(Kind::Bodies, needed - held.charged)?;
            held.charged = needed;
            held.permits.push(permit);
        }
        held.open += bytes;
        drop(held);
        Ok(Window { bodies: self.clone(), bytes })
    }

    /// Returns how much the client can send at most for open bodies with these windows.
    fn needed(&self, open: usize) -> usize {
        open.min(self.windows.connection as usize)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Each change leaves consistent sums.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let mut guard = self.bodies.lock();
        let Held { open, charged, permits } = &mut *guard;
        *open -= self.bytes;
        let needed = self.bodies.needed(*open);
        // Another body may need what this one was charged for.
        permits.retain(|permit| {
            let keeps = *charged - permit.bytes() < needed;
            *charged -= if keeps { 0 } else { permit.bytes() };
            keeps
        });
    }
}

#[cfg(test)]
mod tests {
    use fanfare_config::limits::MEMORY_BASE;

    use super::*;
    use crate::memory::Memory;

    const KIB: usize = 1024;

    fn bodies() -> UnreadBodies {
        let windows = Windows { body: 128 * 1024, connection: 512 * 1024 };
        UnreadBodies::new(windows, Memory::new(16 << 20).account(None))
    }

    fn charged(bodies: &UnreadBodies) -> usize {
        let held = bodies.lock();
        assert_eq!(held.charged, held.permits.iter().map(Permit::bytes).sum::<usize>());
        held.charged
    }

    #[test]
    fn open_bodies_are_charged_for_what_their_client_may_send() {
        let bodies = bodies();
        let short = bodies.open(Some(100)).unwrap();
        assert_eq!(charged(&bodies), 100);
        let long = bodies.open(Some(8 << 20)).unwrap();
        assert_eq!(charged(&bodies), 100 + 128 * KIB);
        let more: Vec<Window> = (0..10).map(|_| bodies.open(None).unwrap()).collect();
        assert_eq!(charged(&bodies), 512 * KIB, "the window of the connection");
        drop((short, long));
        assert_eq!(charged(&bodies), 512 * KIB, "the others may send as much");
        drop(more);
        assert_eq!(charged(&bodies), 0);
    }

    #[test]
    fn windows_are_released_in_any_order_and_never_below_what_is_open() {
        let bodies = bodies();
        let mut open: Vec<Window> =
            (0..12).map(|n| bodies.open((n % 3 > 0).then_some(n * 20_000)).unwrap()).collect();
        for n in [7, 0, 9, 4, 4, 1, 0, 3, 2, 1, 1, 0] {
            drop(open.swap_remove(n));
            let sum: usize = open.iter().map(|window| window.bytes).sum();
            assert!(charged(&bodies) >= sum.min(512 * KIB), "{} for {sum}", charged(&bodies));
        }
        assert_eq!(charged(&bodies), 0);
    }

    #[test]
    fn a_body_without_memory_for_its_window_is_not_opened() {
        let windows = Windows { body: 128 * 1024, connection: 512 * 1024 };
        let bodies = UnreadBodies::new(windows, Memory::new(2 << 20).account(None));
        let first = bodies.open(None).unwrap();
        let second = bodies.open(None).unwrap();
        assert!(bodies.open(None).is_err(), "an eighth for one connection");
        assert_eq!(charged(&bodies), 256 * KIB);
        drop((first, second));
        assert!(bodies.open(None).is_ok());
    }

    #[test]
    fn windows_fit_into_the_share_of_a_connection() {
        let windows = |memory: usize| {
            let mut config = Config::default();
            config.limits.memory = bytesize::ByteSize::b((MEMORY_BASE + memory) as u64);
            Windows::new(&config)
        };
        assert_eq!(windows(224 << 20), Windows { body: 128 * 1024, connection: 512 * 1024 });
        assert_eq!(windows(8 << 20), Windows { body: 128 * 1024, connection: 512 * 1024 });
        assert_eq!(windows(1 << 20), Windows { body: 16 * 1024, connection: LEAST.max(64 * 1024) });
    }
}
