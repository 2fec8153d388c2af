//! Limits of sockets without a stream: `limits.sockets`, `limits.sockets_per_address`, `limits.when_full`, and their share of
//! `limits.memory`.
//!
//! If all slots are taken, a new socket evicts an idle one: of the address with the most sockets, the socket that has been
//! idle longest. So a client that keeps idle sockets open loses its own first.
//!
//! # Layout
//!
//! - `activity`: what a connection does, for new sockets that need its slot
//! - `table`: the sockets with a slot, and which of them is evicted first

mod activity;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_config::limits::{LimitsConfig, WhenFull};
use tokio::time::Instant;

pub(super) use self::activity::{Activity, RequestInFlight};
use self::table::{SlotTable, Sockets};
use crate::address::AddressKey;
use crate::http::metrics::HttpMetrics;
use crate::memory::{self, Account, Kind, NoRoom, Permit, Scope};

/// The slots of a listener.
#[derive(Debug)]
pub(super) struct Slots {
    total: usize,
    per_address: usize,
    when_full: WhenFull,
    /// Start of the times of activity.
    epoch: Instant,
    state: Mutex<SlotTable>,
    metrics: HttpMetrics,
}

/// The slot of one socket. Released when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    address: Option<AddressKey>,
    serial: u64,
    activity: Arc<Activity>,
    /// Bytes reserved while it has a slot.
    bytes: AtomicUsize,
}

/// Limit by which a socket was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `limits.sockets_per_address`.
    Address,
    /// `limits.sockets`.
    Node,
    /// `limits.memory`.
    Memory,
}

impl Slots {
    /// Creates the slots that the settings allow.
    pub(super) fn new(limits: &LimitsConfig, metrics: HttpMetrics) -> Arc<Self> {
        Arc::new(Self {
            total: limits.sockets,
            per_address: limits.sockets_per_address,
            when_full: limits.when_full,
            epoch: Instant::now(),
            state: Mutex::default(),
            metrics,
        })
    }

    /// Takes a slot for a socket from an address, and reserves the socket's memory from the account; without an address, as
    /// for a trusted balancer, only the limits of the node apply.
    ///
    /// # Errors
    ///
    /// Fails if all slots or the memory are taken and no socket can be evicted.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: Option<AddressKey>,
        account: &Account,
    ) -> Result<Slot, Full> {
        let mut state = self.state();
        let of_address = state.addresses.get(&address).map_or(0, Sockets::len);
        if address.is_some() && of_address >= self.per_address && !self.make_room(&mut state, address) {
            return Err(Full::Address);
        }
        if state.taken >= self.total && !self.make_room(&mut state, None) {
            return Err(Full::Node);
        }
        let mut reservation = account.permit(Kind::Sockets);
        self.grow(&mut state, address, &mut reservation, memory::CONNECTION)?;
        state.serial += 1;
        let serial = state.serial;
        let activity = Arc::new(Activity::new(self.epoch, reservation));
        state.add(address, serial, Arc::clone(&activity));
        let bytes = AtomicUsize::new(memory::CONNECTION);
        Ok(Slot { slots: Arc::clone(self), address, serial, activity, bytes })
    }

    /// Reserves more memory for a socket. If there is none, an idle socket is evicted and passes its bytes on, so that one
    /// new socket costs one idle socket.
    fn grow(
        &self,
        state: &mut SlotTable,
        address: Option<AddressKey>,
        reservation: &mut Permit,
        bytes: usize,
    ) -> Result<(), Full> {
        let mut missing = bytes;
        while let Err(NoRoom { scope, .. }) = reservation.grow(missing) {
            let of = match scope {
                // Evicting others would not help.
                Scope::Connection => return Err(Full::Memory),
                Scope::Address => address,
                Scope::Node => None,
            };
            // Terminates, since each turn evicts a socket.
            let freed = self.evict(state, of).ok_or(Full::Memory)?;
            if scope == Scope::Node {
                missing -= reservation.take_over(freed, missing).map_err(|_| Full::Memory)?;
            }
        }
        Ok(())
    }

    /// Evicts an idle socket, of this address or of the address with the most sockets. Returns whether there was one.
    fn make_room(&self, state: &mut SlotTable, of: Option<AddressKey>) -> bool {
        self.evict(state, of).is_some()
    }

    /// Like [`Slots::make_room`]. Returns the memory of the evicted socket.
    fn evict(&self, state: &mut SlotTable, of: Option<AddressKey>) -> Option<Permit> {
        if self.when_full == WhenFull::Refuse {
            return None;
        }
        let activity = state.take_longest_idle(of)?;
        let freed = activity.reservation().split();
        activity.evict();
        self.metrics.sockets_evicted.inc();
        Some(freed)
    }

    fn state(&self) -> MutexGuard<'_, SlotTable> {
        // Each change leaves a consistent table.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of free slots.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.total - self.state().taken
    }
}

impl Slot {
    /// Returns the activity of the connection.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Reserves more memory for the socket, since TLS and HTTP/2 need more than HTTP/1.1.
    ///
    /// # Errors
    ///
    /// Fails if the memory is taken and no other socket can be evicted, or if another socket took the slot.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), Full> {
        // The socket must not evict itself.
        let _busy = self.activity.begin();
        let mut state = self.slots.state();
        if self.activity.is_evicted() {
            return Err(Full::Memory);
        }
        self.slots.grow(&mut state, self.address, &mut self.activity.reservation(), bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Releases the slot and its memory, since the socket has a stream.
    pub(super) fn release(&self) {
        let mut state = self.slots.state();
        state.remove(self.address, (self.activity.placed(), self.serial));
        self.activity.reservation().clear();
    }

    /// Takes a slot and its memory again, if both are free. Returns whether it did.
    pub(super) fn retake(&self) -> bool {
        let mut state = self.slots.state();
        if state.taken >= self.slots.total
            || self.activity.is_evicted()
            || self.activity.reservation().grow(self.bytes.load(Ordering::Relaxed)).is_err()
        {
            return false;
        }
        state.add(self.address, self.serial, Arc::clone(&self.activity));
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::memory::Memory;

    fn slots(sockets: usize, sockets_per_address: usize, when_full: WhenFull) -> Arc<Slots> {
        let limits = LimitsConfig { sockets, sockets_per_address, when_full, ..LimitsConfig::default() };
        Slots::new(&limits, HttpMetrics::register(&mut Registry::default()))
    }

    /// Takes a slot for a socket from an address, with enough memory for all.
    fn enter(slots: &Arc<Slots>, address: Option<AddressKey>) -> Result<Slot, Full> {
        slots.enter(address, &Memory::new(1 << 40).account(address))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as slots take it")]
    fn address(last: u8) -> Option<AddressKey> {
        Some(AddressKey::of([192, 0, 2, last].into()))
    }

    fn is_evicted(slot: &Slot) -> bool {
        slot.activity.is_evicted()
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_socket_evicts_the_longest_idle_one_of_the_address_with_the_most() {
        let slots = slots(5, 5, WhenFull::Evict);
        let mut taken = Vec::new();
        for last in [1, 2, 2, 2, 1] {
            taken.push(enter(&slots, address(last)).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The oldest socket of address 2 has just sent data, and the next one waits for a response.
        taken[1].activity.touch();
        let in_flight = taken[2].activity.begin();
        let new = enter(&slots, address(3)).unwrap();
        let evicted: Vec<bool> = taken.iter().map(is_evicted).collect();
        assert_eq!(evicted, [false, false, false, true, false]);
        assert_eq!(slots.free(), 0);
        drop((taken, new, in_flight));
        assert_eq!(slots.free(), 5);
        assert!(slots.state().addresses.is_empty());
        assert_eq!(slots.metrics.sockets_evicted.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_at_its_limit_evicts_only_its_own_sockets() {
        let slots = slots(100, 2, WhenFull::Evict);
        let other = enter(&slots, address(2)).unwrap();
        let mine: Vec<_> = (0..10).map(|_| enter(&slots, address(1)).unwrap()).collect();
        assert_eq!(mine.iter().filter(|slot| is_evicted(slot)).count(), 8);
        assert!(!is_evicted(&other) && !is_evicted(&mine[9]));
        let _busy: Vec<_> = mine.iter().map(|slot| slot.activity.begin()).collect();
        assert_eq!(enter(&slots, address(1)).unwrap_err(), Full::Address, "none of them is idle");
        // A trusted balancer has as many as the node.
        let _balancer: Vec<_> = (0..50).map(|_| enter(&slots, None).unwrap()).collect();
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_refuses_closes_the_new_socket() {
        let slots = slots(2, 1, WhenFull::Refuse);
        let one = enter(&slots, address(1)).unwrap();
        assert_eq!(enter(&slots, address(1)).unwrap_err(), Full::Address);
        let _other = enter(&slots, address(2)).unwrap();
        assert_eq!(enter(&slots, address(3)).unwrap_err(), Full::Node);
        assert!(!is_evicted(&one));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_without_an_idle_socket_is_skipped() {
        let slots = slots(3, 3, WhenFull::Evict);
        let busy = [enter(&slots, address(1)).unwrap(), enter(&slots, address(1)).unwrap()];
        let _in_flight = [busy[0].activity.begin(), busy[1].activity.begin()];
        let idle = enter(&slots, address(2)).unwrap();
        let new = enter(&slots, address(3)).unwrap();
        assert!(is_evicted(&idle));
        let _waiting = [new.activity.begin()];
        assert_eq!(enter(&slots, address(4)).unwrap_err(), Full::Node);
    }

    #[tokio::test(start_paused = true)]
    async fn sockets_that_were_all_active_are_evicted_in_the_order_of_their_activity() {
        let slots = slots(200, 200, WhenFull::Evict);
        let taken: Vec<Slot> = (0..200).map(|_| enter(&slots, address(1)).unwrap()).collect();
        for slot in taken.iter().rev() {
            tokio::time::advance(Duration::from_millis(1)).await;
            slot.activity.touch();
        }
        let _new: Vec<_> = (0..3).map(|_| enter(&slots, address(2)).unwrap()).collect();
        let evicted: Vec<usize> = (0..200).filter(|n| is_evicted(&taken[*n])).collect();
        assert_eq!(evicted, [197, 198, 199]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_slot_is_taken_again_only_if_one_is_free() {
        let slots = slots(1, 1, WhenFull::Evict);
        let slot = enter(&slots, address(1)).unwrap();
        slot.release();
        let other = enter(&slots, address(1)).unwrap();
        assert!(!slot.retake());
        drop(other);
        assert!(slot.retake());
        assert_eq!(slots.free(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_socket_of_a_busy_address_costs_one_idle_socket() {
        let slots = slots(1000, 1000, WhenFull::Evict);
        let memory = Memory::new(1024 * memory::CONNECTION);
        let enter = |last| slots.enter(address(last), &memory.account(address(last)));
        // Address 1 holds more than little: a sixty-fourth. Others fill the quarter, and the reserve of those that hold little.
        let mine: Vec<Slot> = (0..20).map(|_| enter(1).unwrap()).collect();
        let others: Vec<Slot> =
            (2..=19).flat_map(|last| (0..15).map(move |_| last)).map_while(|last| enter(last).ok()).collect();
        assert_eq!(slots.metrics.sockets_evicted.get(), 2, "the reserve is used up");
        tokio::time::advance(Duration::from_secs(1)).await;
        let _new = enter(1).unwrap();
        assert_eq!(slots.metrics.sockets_evicted.get(), 3);
        drop((mine, others));
    }

    #[tokio::test(start_paused = true)]
    async fn sockets_without_a_stream_have_a_part_of_memory_and_make_room_for_each_other() {
        let slots = slots(100, 100, WhenFull::Evict);
        // Of a quarter and a thirty-second for those that hold little, which none does here.
        let memory = Memory::new(16 * memory::CONNECTION);
        let enter = |last| slots.enter(address(last), &memory.account(address(last)));
        let mut taken: Vec<Slot> = [1, 1, 2, 3].map(|last| enter(last).unwrap()).into();
        tokio::time::advance(Duration::from_secs(1)).await;
        taken.push(enter(4).unwrap());
        assert!(is_evicted(&taken[0]), "the oldest of the address that has most");
        // One that speaks HTTP/2 takes more, and not its own.
        let _busy: Vec<_> = taken[1..4].iter().map(|slot| slot.activity.begin()).collect();
        assert_eq!(taken[4].grow(memory::HTTP2), Err(Full::Memory), "no other is idle");
        assert_eq!(enter(5).map(drop), Ok(()), "it is idle");
        assert!(is_evicted(&taken[4]));
        // A stream leaves its bytes to others, and finds them again if they are free.
        taken[1].release();
        let others = [enter(6).unwrap(), enter(7).unwrap()];
        assert!(!taken[1].retake());
        drop(others);
        assert!(taken[1].retake());
        drop(taken);
        assert_eq!(slots.free(), 100);
    }
}
