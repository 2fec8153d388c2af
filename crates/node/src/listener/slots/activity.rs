//! What a connection does, for new sockets that need a slot.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::listener::turns::Use;
use crate::memory::Permit;

/// A time at which a socket was active, and its serial number.
pub(super) type Place = (u64, u64);

/// Activity of one connection. Written by the connection's task, and read by new sockets that need a slot.
#[derive(Debug)]
pub(in crate::listener) struct Activity {
    epoch: Instant,
    /// Time of the last input, in milliseconds after the epoch.
    last: AtomicU64,
    /// The time in the socket's place. Changes only while the slot table is locked.
    placed: AtomicU64,
    /// Number of requests in flight.
    requests: AtomicUsize,
    /// Whether a request has begun since the last read.
    begun: AtomicBool,
    /// Number of streams among them.
    streams: AtomicUsize,
    /// The socket's reservation of memory while it has a slot.
    reservation: Mutex<Permit>,
    /// Cancelled when another socket took the slot.
    evicted: CancellationToken,
    /// What its turns were used for.
    used: Arc<Use>,
}

/// A request in flight. Ends when it is dropped.
#[derive(Debug)]
pub(in crate::listener) struct RequestInFlight(Arc<Activity>);

impl Activity {
    /// Creates the activity of a socket that was accepted now, with its reservation.
    pub(super) fn new(epoch: Instant, reservation: Permit) -> Self {
        Self {
            epoch,
            last: AtomicU64::new(since(epoch)),
            placed: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            streams: AtomicUsize::new(0),
            reservation: Mutex::new(reservation),
            evicted: CancellationToken::new(),
            used: Arc::default(),
        }
    }

    /// Records input of the client.
    pub(in crate::listener) fn touch(&self) {
        self.last.store(since(self.epoch), Ordering::Relaxed);
    }

    /// Records and returns the socket's place.
    pub(super) fn place(&self, time: u64, serial: u64) -> Place {
        self.placed.store(time, Ordering::Relaxed);
        (time, serial)
    }

    pub(super) fn placed(&self) -> u64 {
        self.placed.load(Ordering::Relaxed)
    }

    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Returns whether no request is in flight.
    pub(in crate::listener) fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// Returns whether a request has begun since the last call.
    pub(in crate::listener) fn take_begun(&self) -> bool {
        // Set and read by the task of an HTTP/1.1 connection.
        self.begun.swap(false, Ordering::Relaxed)
    }

    /// Returns whether the connection has a stream.
    pub(in crate::listener) fn carries_stream(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }

    /// Counts a stream that opened, or one that closed.
    pub(in crate::listener) fn count_stream(&self, begun: bool) {
        if begun {
            self.streams.fetch_add(1, Ordering::Relaxed);
        } else {
            self.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Locks the reservation. The lock of the slot table is taken first, if both are.
    pub(super) fn reservation(&self) -> MutexGuard<'_, Permit> {
        // Each change leaves a consistent permit.
        self.reservation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the connection's turns were used for.
    pub(in crate::listener) fn used(&self) -> &Arc<Use> {
        &self.used
    }

    /// Returns the time now, as that of a place.
    pub(super) fn now(&self) -> u64 {
        since(self.epoch)
    }

    /// Ends the connection, since another socket takes the slot.
    pub(super) fn evict(&self) {
        self.evicted.cancel();
    }

    /// Returns whether another socket has taken the slot.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.is_cancelled()
    }

    /// Waits until another socket takes the slot.
    pub(in crate::listener) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Returns what is cancelled when another socket takes the slot.
    pub(in crate::listener) fn eviction(&self) -> &CancellationToken {
        &self.evicted
    }

    /// Counts a request, until the returned value is dropped.
    pub(in crate::listener) fn begin(self: &Arc<Self>) -> RequestInFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.begun.store(true, Ordering::Relaxed);
        RequestInFlight(Arc::clone(self))
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

fn since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
}
