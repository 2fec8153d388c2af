//! The bytes that one connection holds.

use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanfare_config::limits::MEMORY_CONNECTIONS;

use super::kind::{Kind, NoRoom, Scope, labels};
use super::{ADDRESSES, LITTLE, Memory, reserve, signed};
use crate::address::AddressKey;

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

impl Account {
    /// Opens the account of a connection. `address`: the address's share, in which the account is counted already.
    pub(super) fn new(memory: Memory, address: Option<(AddressKey, Arc<AtomicUsize>)>) -> Self {
        Self(Arc::new(Holder { memory, held: AtomicUsize::new(0), address }))
    }

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

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("held", &self.held).finish_non_exhaustive()
    }
}
