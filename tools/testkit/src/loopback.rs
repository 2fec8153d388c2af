//! Addresses that no other process on this machine uses.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};

/// Number of the next address.
static NEXT: AtomicU16 = AtomicU16::new(0);
/// Last bytes of addresses: 127.0.0.1 and what people write by hand stay free.
const LAST: std::ops::Range<u16> = 16..250;
/// Number of blocks of addresses of one process.
const BLOCKS: u16 = 2;

/// A loopback address for one server of one test.
///
/// With an address of its own a server can have a fixed port outside the range of outgoing connections: it can stop
/// and come back on the same port, and no other process has taken it meanwhile.
///
/// # Panics
///
/// When one process asks for more than 468.
pub fn address() -> Ipv4Addr {
    let in_block = LAST.end - LAST.start;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (block, last) = (number / in_block, LAST.start + number % in_block);
    assert!(block < BLOCKS, "one process has used up its loopback addresses");
    // The processes of a run have near numbers, so 15 bits tell them apart.
    let process = u32::from(block) << 15 | std::process::id() & 0x7fff;
    let [.., high, low] = process.to_be_bytes();
    let [_, last] = last.to_be_bytes();
    Ipv4Addr::new(127, high, low, last)
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_address_is_given_twice() {
        let addresses: Vec<_> = (0..400).map(|_| super::address()).collect();
        let distinct: std::collections::HashSet<_> = addresses.iter().collect();
        assert_eq!(distinct.len(), addresses.len());
        assert!(addresses.iter().all(std::net::Ipv4Addr::is_loopback));
    }
}
