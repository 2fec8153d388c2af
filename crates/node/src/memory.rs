//! Memory budget for the data of clients: `limits.memory` without the memory of the process itself ([`MEMORY_BASE`]).
//!
//! Each socket, request head, body and response that the node keeps has a [`Permit`] for its bytes. A connection may use an
//! eighth of the budget, and all connections from one address a quarter. Shards count the queues of streams by a [`QueueBudget`].
//!
//! Each kind has a share, so that no kind uses up the memory of another; another thirty-second of the budget, for each kind, is
//! reserved for addresses that use little. When memory is short, the node acts in this order:
//!
//! 1. Sockets beyond a quarter evict each other: the one that has been idle longest is closed.
//! 2. Bodies beyond a quarter and responses beyond an eighth are refused: `busy` (503).
//! 3. Streams' queues shrink once they hold an eighth: clients that are behind catch up from the log, a little at a time.
//! 4. Requests beyond an eighth are refused: `busy`, and `overloaded` for streams.
//!
//! A stream that is open is never closed for memory.
//!
//! # Layout
//!
//! - `kind`: what reserved bytes are for, and whose share bounds them
//! - `account`: the bytes that one connection holds

mod account;
mod kind;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_config::limits::MEMORY_BASE;
use fanfare_hub::queue_budget::QueueBudget;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use self::account::{Account, Permit};
pub use self::kind::{Kind, NoRoom, Scope};
use self::kind::{KindLabel, RefusedLabels, labels};
use crate::address::AddressKey;

/// Memory of a connection without its requests: its task and the buffers of HTTP/1.1, in bytes.
pub const CONNECTION: usize = 24 * 1024;
/// Additional memory of an HTTP/2 connection, in bytes.
pub const HTTP2: usize = 16 * 1024;
/// Additional memory of a TLS connection, in bytes.
pub const TLS: usize = 16 * 1024;
/// Divisor of the budget for the share of the connections from one address.
const ADDRESSES: usize = 4;
/// Divisor of the budget for the reserve of each kind, for addresses that use little.
const RESERVE: usize = 32;
/// Divisor of the budget for the queues of streams; beyond it they shrink.
const QUEUED: usize = 8;
/// Divisor of the budget up to which an address uses little.
const LITTLE: usize = 64;

/// The node's memory budget. Clones are handles of the same budget.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    total: usize,
    /// Bytes held by permits, by kind.
    held: [AtomicUsize; 4],
    /// Shares of addresses with an account.
    addresses: Mutex<HashMap<AddressKey, Share>>,
    /// `fanfare_memory_bytes` by kind.
    gauges: [Gauge; 4],
    queues: QueueBudget,
    limit: Gauge,
    bytes: Family<KindLabel, Gauge>,
    /// `fanfare_memory_share_bytes` by kind.
    shares: Family<KindLabel, Gauge>,
    /// `fanfare_memory_refused_total` by kind and scope.
    refused: Family<RefusedLabels, Counter>,
}

/// Bytes reserved for one address.
struct Share {
    held: Arc<AtomicUsize>,
    accounts: usize,
}

/// Returns the budget that a setting of `limits.memory` leaves for clients, in bytes.
pub fn budget(setting: usize) -> usize {
    setting.saturating_sub(MEMORY_BASE)
}

impl Memory {
    /// Creates a budget of `total` bytes.
    pub fn new(total: usize) -> Self {
        let bytes: Family<KindLabel, Gauge> = Family::default();
        let gauge = |kind| bytes.get_or_create_owned(&KindLabel { kind });
        let inner = Inner {
            total,
            held: Default::default(),
            addresses: Mutex::default(),
            gauges: Kind::ALL.map(|kind| gauge(kind.as_str())),
            queues: QueueBudget::new(total / QUEUED, gauge("queues")),
            limit: Gauge::default(),
            shares: Family::default(),
            refused: Family::default(),
            bytes,
        };
        inner.limit.set(i64::try_from(total).unwrap_or(i64::MAX));
        let of_kinds = Kind::ALL.map(|kind| (kind.as_str(), kind.bound(total)));
        for (kind, share) in of_kinds.into_iter().chain([("queues", total / QUEUED)]) {
            let share = i64::try_from(share).unwrap_or(i64::MAX);
            inner.shares.get_or_create(&KindLabel { kind }).set(share);
        }
        for (kind, scope) in Kind::ALL.into_iter().flat_map(|kind| Scope::ALL.map(|scope| (kind, scope))) {
            let _ = inner.refused.get_or_create(&labels(kind, scope));
        }
        Self(Arc::new(inner))
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let Inner { limit, bytes, shares, refused, .. } = &*self.0;
        registry.register("fanfare_memory_bytes", "Bytes held for clients, by kind", bytes.clone());
        registry.register(
            "fanfare_memory_share_bytes",
            "Bytes that a kind may hold of the maximum, without the reserve for addresses that use little",
            shares.clone(),
        );
        registry.register(
            "fanfare_memory_limit_bytes",
            "Maximum bytes held for clients (limits.memory less 32 MiB)",
            limit.clone(),
        );
        registry.register(
            "fanfare_memory_refused",
            "Refused memory reservations, by kind and by the scope whose share was used up",
            refused.clone(),
        );
    }

    /// Opens the account of a connection from an address; without an address, no address limit applies.
    pub fn account(&self, address: Option<AddressKey>) -> Account {
        let address = address.map(|key| {
            let mut addresses = self.addresses();
            let share = addresses.entry(key).or_insert_with(|| Share { held: Arc::default(), accounts: 0 });
            share.accounts += 1;
            (key, Arc::clone(&share.held))
        });
        Account::new(self.clone(), address)
    }

    /// Returns the budget of the queues of streams.
    pub fn queues(&self) -> QueueBudget {
        self.0.queues.clone()
    }

    /// Reserves bytes of the node. Returns false if there is no room. `little`: the address uses little.
    fn hold(&self, kind: Kind, bytes: usize, little: bool) -> bool {
        let total = self.0.total;
        let bound = kind.bound(total) + if little { total / RESERVE } else { 0 };
        let held = reserve(&self.0.held[kind as usize], bytes, bound);
        if held {
            self.0.gauges[kind as usize].inc_by(signed(bytes));
        }
        held
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<AddressKey, Share>> {
        // Each change leaves a consistent map.
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("total", &self.0.total)
            .field("held", &self.0.held)
            .field("queues", &self.0.queues)
            .finish_non_exhaustive()
    }
}

/// Adds to a counter, unless the sum would exceed the bound. Returns whether it did.
fn reserve(counter: &AtomicUsize, more: usize, bound: usize) -> bool {
    let add = |held: usize| held.checked_add(more).filter(|held| *held <= bound);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
