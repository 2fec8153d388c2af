//! Connections of a shard whose sockets are ready.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use crate::inbox::Inbox;

/// Connections that were woken, each at most once.
pub(crate) struct ReadyList {
    keys: Mutex<Vec<Arc<ConnectionWaker>>>,
    inbox: Arc<Inbox>,
}

/// Wakes a connection's shard and records the connection's key.
pub(crate) struct ConnectionWaker {
    pub(crate) key: usize,
    listed: AtomicBool,
    ready: Arc<ReadyList>,
}

impl ReadyList {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Arc<Self> {
        Arc::new(Self { keys: Mutex::default(), inbox })
    }

    /// Returns a waker for the connection with this key.
    pub(crate) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        let ready = Arc::clone(self);
        Arc::new(ConnectionWaker { key, listed: AtomicBool::new(false), ready }).into()
    }

    /// Moves all woken connections into `keys`, which must be empty.
    pub(crate) fn take(&self, keys: &mut Vec<Arc<ConnectionWaker>>) {
        std::mem::swap(keys, &mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in keys {
            // From here on the connection may be listed again: the next poll may or may not see the event.
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
        self.ready.keys.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(self));
        self.ready.inbox.waker.wake();
    }
}
