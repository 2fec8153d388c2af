//! The sockets with a slot, and which of them is evicted first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::activity::{Activity, Place};
use crate::address::AddressKey;

/// Maximum number of busy sockets that are looked at to find an idle one.
const BUSY_LOOKED_AT: usize = 64;

/// The sockets with a slot.
#[derive(Debug, Default)]
pub(super) struct SlotTable {
    pub(super) taken: usize,
    /// Incremented with each slot.
    pub(super) serial: u64,
    /// The sockets of each address; addresses without sockets have no entry.
    pub(super) addresses: HashMap<Option<AddressKey>, Sockets>,
    /// The addresses, the one with the most sockets last. A balancer has many clients: its sockets are evicted last.
    sizes: BTreeSet<(bool, usize, Option<AddressKey>)>,
}

/// The sockets of an address, by their place, the one that has been idle longest first. A socket moves to its true place
/// when it comes first, so that input costs nothing here.
pub(super) type Sockets = BTreeMap<Place, Arc<Activity>>;

impl SlotTable {
    pub(super) fn add(&mut self, address: Option<AddressKey>, serial: u64, activity: Arc<Activity>) {
        let place = activity.place(activity.last(), serial);
        self.resize(address, |sockets| sockets.insert(place, activity));
        self.taken += 1;
    }

    pub(super) fn remove(&mut self, address: Option<AddressKey>, place: Place) -> Option<Arc<Activity>> {
        let removed = self.resize(address, |sockets| sockets.remove(&place));
        self.taken -= usize::from(removed.is_some());
        removed
    }

    /// Changes the sockets of an address, and its rank among the others.
    fn resize<T>(&mut self, address: Option<AddressKey>, change: impl FnOnce(&mut Sockets) -> T) -> T {
        let sockets = self.addresses.entry(address).or_default();
        self.sizes.remove(&(address.is_some(), sockets.len(), address));
        let result = change(sockets);
        if sockets.is_empty() {
            self.addresses.remove(&address);
        } else {
            self.sizes.insert((address.is_some(), sockets.len(), address));
        }
        result
    }

    /// Removes the socket that has been idle longest: of one address, or of the address with the most sockets among those
    /// with an idle one. Looks at [`BUSY_LOOKED_AT`] sockets that are not idle, and then finds none.
    pub(super) fn take_longest_idle(&mut self, of: Option<AddressKey>) -> Option<Arc<Activity>> {
        let mut left = BUSY_LOOKED_AT;
        if of.is_some() {
            let place = longest_idle(self.addresses.get_mut(&of)?, &mut left)?;
            return self.remove(of, place);
        }
        for &(_, _, address) in self.sizes.iter().rev() {
            if let Some(place) = longest_idle(self.addresses.get_mut(&address)?, &mut left) {
                return self.remove(address, place);
            }
            if left == 0 {
                break;
            }
        }
        None
    }
}

/// Returns the place of the socket that has been idle longest. Moves those that come before it to their true places: a busy
/// one to the end.
fn longest_idle(sockets: &mut Sockets, left: &mut usize) -> Option<Place> {
    let mut busy_left = sockets.len().min(*left);
    while busy_left > 0 {
        let (&(placed, serial), activity) = sockets.first_key_value()?;
        let is_idle = activity.is_idle();
        if is_idle && activity.last() <= placed {
            return Some((placed, serial));
        }
        if !is_idle {
            busy_left -= 1;
            *left -= 1;
        }
        let (_, activity) = sockets.pop_first()?;
        let time = if is_idle { activity.last() } else { activity.now() };
        sockets.insert(activity.place(time, serial), activity);
    }
    None
}
