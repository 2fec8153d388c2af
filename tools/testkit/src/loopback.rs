//! Addresses that no other process on this machine uses.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

/// 127.0.0.1 and what people write by hand stay free.
static NEXT: AtomicU8 = AtomicU8::new(16);

/// A loopback address for one server of one test.
///
/// With an address of its own a server can have a fixed port outside the range of outgoing connections: it can stop
/// and come back on the same port, and no other process has taken it meanwhile.
///
/// # Panics
///
/// When one process asks for more than 200.
pub fn address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!((16..=250).contains(&last), "one process has used up its loopback addresses");
    Ipv4Addr::new(127, high, low, last)
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_address_is_given_twice() {
        let (one, other) = (super::address(), super::address());
        assert!(one != other && one.is_loopback() && other.is_loopback());
    }
}
