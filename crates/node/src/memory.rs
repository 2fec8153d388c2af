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

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_config::limits::{MEMORY_BASE, MEMORY_CONNECTIONS};
use fanfare_hub::queue_budget::QueueBudget;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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

/// Purpose of reserved bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections without a stream, without their requests.
    Sockets,
    /// Request heads, and a fixed amount for each request.
    Requests,
    /// Request bodies, and parsed copies of them.
    Bodies,
    /// Responses that are not written yet.
    Responses,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Sockets, Self::Requests, Self::Bodies, Self::Responses];

    /// Returns the name in metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Requests => "requests",
            Self::Bodies => "bodies",
            Self::Responses => "responses",
        }
    }

    /// Returns the maximum bytes of this kind, without the reserve.
    fn bound(self, total: usize) -> usize {
        let sixteenths = match self {
            Self::Sockets | Self::Bodies => 4,
            Self::Requests | Self::Responses => 2,
        };
        total / 16 * sixteenths
    }
}

/// Scope whose share of the budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The connection.
    Connection,
    /// The address.
    Address,
    /// The node.
    Node,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Connection, Self::Address, Self::Node];

    /// Returns the name in metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Address => "address",
            Self::Node => "node",
        }
    }
}

/// No memory is left for more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory left for {} (limits.memory, by {})", .kind.as_str(), .scope.as_str())]
pub struct NoRoom {
    /// Purpose of the bytes.
    pub kind: Kind,
    /// Scope whose share is used up.
    pub scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    kind: &'static str,
    scope: &'static str,
}

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
    /// `fanfare_memory_refused_total` by kind and scope.
    refused: Family<RefusedLabels, Counter>,
}

/// Bytes reserved for one address.
struct Share {
    held: Arc<AtomicUsize>,
    accounts: usize,
}

/// Bytes reserved for one connection. Lives as long as its last handle and permit.
#[derive(Clone, Debug)]
pub struct Account(Arc<Holder>);

struct Holder {
    memory: Memory,
    held: AtomicUsize,
    /// `None` for an address of many clients, such as that of a trusted balancer.
    address: Option<(AddressKey, Arc<AtomicUsize>)>,
}

/// Reserved bytes. Released when it is dropped.
#[derive(Debug)]
pub struct Permit {
    account: Account,
    kind: Kind,
    bytes: usize,
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
            refused: Family::default(),
            bytes,
        };
        inner.limit.set(i64::try_from(total).unwrap_or(i64::MAX));
        for (kind, scope) in Kind::ALL.into_iter().flat_map(|kind| Scope::ALL.map(|scope| (kind, scope))) {
            let _ = inner.refused.get_or_create(&labels(kind, scope));
        }
        Self(Arc::new(inner))
    }

    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let Inner { limit, bytes, refused, .. } = &*self.0;
        registry.register("fanfare_memory_bytes", "Bytes held for clients, by kind", bytes.clone());
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
        Account(Arc::new(Holder { memory: self.clone(), held: AtomicUsize::new(0), address }))
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

impl Account {
    /// Reserves bytes.
    ///
    /// # Errors
    ///
    /// Fails if the share of the connection, of its address or of the node is used up.
    pub fn take(&self, kind: Kind, bytes: usize) -> Result<Permit, NoRoom> {
        let mut permit = self.permit(kind);
        permit.grow(bytes)?;
        Ok(permit)
    }

    /// Reserves bytes for data of unknown size: `bytes`, but at most half of the connection's share.
    ///
    /// # Errors
    ///
    /// Fails as [`Account::take`] does.
    pub fn reserve(&self, kind: Kind, bytes: usize) -> Result<Permit, NoRoom> {
        self.take(kind, bytes.min(self.0.memory.0.total / MEMORY_CONNECTIONS / 2))
    }

    /// Returns a permit for 0 bytes, which can grow.
    pub fn permit(&self, kind: Kind) -> Permit {
        Permit { account: self.clone(), kind, bytes: 0 }
    }

    fn hold(&self, kind: Kind, bytes: usize) -> Result<(), Scope> {
        self.hold_shares(bytes)?;
        let Holder { memory, held, address } = &*self.0;
        let of_address = address.as_ref().map_or(held, |(_, share)| share).load(Ordering::Relaxed);
        if memory.hold(kind, bytes, of_address <= memory.0.total / LITTLE) {
            return Ok(());
        }
        self.release_shares(bytes);
        Err(Scope::Node)
    }

    /// Reserves bytes of the shares of the connection and of its address.
    fn hold_shares(&self, bytes: usize) -> Result<(), Scope> {
        let Holder { memory, held, address } = &*self.0;
        let total = memory.0.total;
        if !reserve(held, bytes, total / MEMORY_CONNECTIONS) {
            return Err(Scope::Connection);
        }
        if let Some((_, share)) = address
            && !reserve(share, bytes, total / ADDRESSES)
        {
            held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Scope::Address);
        }
        Ok(())
    }

    fn release_shares(&self, bytes: usize) {
        let Holder { held, address, .. } = &*self.0;
        held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some((_, share)) = address {
            share.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Permit {
    /// Reserves more bytes.
    ///
    /// # Errors
    ///
    /// Fails as [`Account::take`] does. The permit keeps the bytes that it has.
    pub fn grow(&mut self, more: usize) -> Result<(), NoRoom> {
        if more == 0 {
            return Ok(());
        }
        let kind = self.kind;
        self.account.hold(kind, more).map_err(|scope| {
            self.account.0.memory.0.refused.get_or_create(&labels(kind, scope)).inc();
            NoRoom { kind, scope }
        })?;
        self.bytes += more;
        Ok(())
    }

    /// Returns the number of reserved bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Splits all bytes off, into a permit of the same account.
    pub(crate) fn split(&mut self) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        Self { account: self.account.clone(), kind: self.kind, bytes }
    }

    /// Takes over up to `most` bytes of another permit of this kind. What the node holds stays the same, so only the shares
    /// of this connection and its address bound them. The rest of the other permit is released. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// Fails if the share of the connection or of its address is used up.
    pub(crate) fn take_over(&mut self, mut other: Self, most: usize) -> Result<usize, NoRoom> {
        debug_assert_eq!(self.kind, other.kind);
        let (kind, bytes) = (self.kind, other.bytes.min(most));
        self.account.hold_shares(bytes).map_err(|scope| NoRoom { kind, scope })?;
        other.account.release_shares(bytes);
        other.bytes -= bytes;
        self.bytes += bytes;
        Ok(bytes)
    }

    /// Releases all bytes.
    pub fn clear(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        self.account.release_shares(bytes);
        let memory = &self.account.0.memory;
        memory.0.held[self.kind as usize].fetch_sub(bytes, Ordering::Relaxed);
        memory.0.gauges[self.kind as usize].dec_by(signed(bytes));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let Some((key, _)) = &self.address else { return };
        let mut addresses = self.memory.addresses();
        if let Entry::Occupied(mut share) = addresses.entry(*key) {
            share.get_mut().accounts -= 1;
            if share.get().accounts == 0 {
                share.remove();
            }
        }
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

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("held", &self.held).finish_non_exhaustive()
    }
}

/// Adds to a counter, unless the sum would exceed the bound. Returns whether it did.
fn reserve(counter: &AtomicUsize, more: usize, bound: usize) -> bool {
    let add = |held: usize| held.checked_add(more).filter(|held| *held <= bound);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

fn labels(kind: Kind, scope: Scope) -> RefusedLabels {
    RefusedLabels { kind: kind.as_str(), scope: scope.as_str() }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: usize = 1600;

    fn account(memory: &Memory, last: u8) -> Account {
        memory.account(Some(AddressKey::of([192, 0, 2, last].into())))
    }

    fn scope(result: Result<Permit, NoRoom>) -> Scope {
        result.unwrap_err().scope
    }

    #[test]
    fn a_connection_has_an_eighth_and_an_address_a_quarter() {
        let memory = Memory::new(TOTAL);
        let one = account(&memory, 1);
        let mut permits = vec![one.take(Kind::Requests, 150).unwrap()];
        assert_eq!(scope(one.take(Kind::Requests, 51)), Scope::Connection);
        permits.push(one.take(Kind::Requests, 50).unwrap());
        permits.push(account(&memory, 1).take(Kind::Bodies, 200).unwrap());
        assert_eq!(scope(account(&memory, 1).take(Kind::Requests, 1)), Scope::Address);
        assert!(account(&memory, 2).take(Kind::Bodies, 200).is_ok());
        permits.clear();
        assert!(one.take(Kind::Requests, 200).is_ok());
        assert!(memory.0.held.iter().all(|held| held.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn each_kind_has_a_share_and_addresses_that_use_little_have_a_reserve() {
        let memory = Memory::new(TOTAL);
        let many = |kind, from, bytes| -> Vec<Permit> {
            (from..from + 30).map_while(|last| account(&memory, last).take(kind, bytes).ok()).collect()
        };
        let bodies = many(Kind::Bodies, 0, 50);
        assert_eq!(bodies.len(), 8, "a quarter");
        assert_eq!(scope(account(&memory, 99).take(Kind::Bodies, 50)), Scope::Node);
        let light = many(Kind::Bodies, 40, 20);
        assert_eq!(light.len(), 2, "a thirty-second for addresses that use little");
        let responses = many(Kind::Responses, 80, 50);
        assert_eq!(responses.len(), 4, "an eighth, independent of bodies");
        let requests = many(Kind::Requests, 120, 50);
        assert_eq!(requests.len(), 4, "an eighth");
        assert_eq!(many(Kind::Requests, 160, 25).len(), 2);
        assert_eq!(many(Kind::Sockets, 200, 50).len(), 8, "a quarter");
        drop(bodies);
        assert!(account(&memory, 99).take(Kind::Bodies, 100).is_ok());
    }

    #[test]
    fn an_address_is_removed_with_its_last_account() {
        let memory = Memory::new(TOTAL);
        let (one, other) = (account(&memory, 1), account(&memory, 1));
        let permit = other.take(Kind::Bodies, 10).unwrap();
        drop((one, other));
        assert_eq!(memory.addresses().len(), 1, "a permit keeps it");
        drop(permit);
        assert!(memory.addresses().is_empty());
    }

    #[test]
    fn refusals_are_counted_and_a_permit_that_cannot_grow_keeps_its_bytes() {
        let memory = Memory::new(TOTAL);
        let account = account(&memory, 1);
        let mut permit = account.take(Kind::Bodies, 100).unwrap();
        assert!(permit.grow(101).is_err());
        assert_eq!(permit.bytes(), 100);
        let refused = memory.0.refused.get_or_create(&labels(Kind::Bodies, Scope::Connection)).get();
        assert_eq!((refused, memory.0.gauges[Kind::Bodies as usize].get()), (1, 100));
        drop(permit);
        assert_eq!(memory.0.gauges[Kind::Bodies as usize].get(), 0);
    }
}
