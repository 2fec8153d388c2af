//! Which connections of a writer loop have something to do on their sockets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use super::inbox::Inbox;

/// The connections that were woken, by their keys. Each is in it once at most.
pub(crate) struct Woken {
    keys: Mutex<Vec<Arc<ConnectionWaker>>>,
    inbox: Arc<Inbox>,
}

/// Wakes one connection's loop and leaves the connection's key.
pub(crate) struct ConnectionWaker {
    pub(crate) key: usize,
    listed: AtomicBool,
    woken: Arc<Woken>,
}

impl Woken {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Arc<Self> {
        Arc::new(Self { keys: Mutex::default(), inbox })
    }

    /// Returns a waker for the connection with this key.
    pub(crate) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        let woken = Arc::clone(self);
        Arc::new(ConnectionWaker { key, listed: AtomicBool::new(false), woken }).into()
    }

    /// Takes all that were woken into `keys`, which must be empty.
    pub(crate) fn take(&self, keys: &mut Vec<Arc<ConnectionWaker>>) {
        std::mem::swap(keys, &mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in keys {
            // From here on it may be listed again: what it announces now is not seen by the poll to come, or is.
            waker.listed.store(false, Ordering::Release);
        }
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.woken.keys.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(self));
        self.woken.inbox.waker.wake();
    }
}
