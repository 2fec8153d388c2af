//! Client addresses, and their keys for limits.
//!
//! # Layout
//!
//! - [`trusted`]: trusted proxies, and the way from the socket to the client
//! - `forwarded`: `Forwarded` and `X-Forwarded-For`, parsed from the right

mod forwarded;
pub mod trusted;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Number of leading bits of an IPv6 address that identify one network: a host may use every address of its /64.
const IPV6_PREFIX: u32 = 64;

/// Address of the socket's peer, or of the client that a trusted balancer names in a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Key of limits by address: an IPv4 address, or the /64 network of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// Returns the key of an address. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let network = u128::from(ip) & (u128::MAX << (128 - IPV6_PREFIX));
                IpAddr::V6(Ipv6Addr::from(network))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ip) = self;
        if ip.is_ipv6() { write!(f, "{ip}/{IPV6_PREFIX}") } else { ip.fmt(f) }
    }
}

/// The client's address, as reported by trusted proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    ip: IpAddr,
    /// Whether the address is that of a trusted proxy: the client behind it is unknown then.
    is_proxy: bool,
}

impl ClientAddress {
    /// Returns the key for limits by address. `None` if only a trusted proxy's address is known: all clients behind
    /// the proxy would share one limit.
    pub fn key(self) -> Option<AddressKey> {
        (!self.is_proxy).then(|| AddressKey::of(self.ip))
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)
    }
}

/// An unknown address: unspecified, and not limited. Used without a [`RequestInfo`](crate::request_info::RequestInfo), as in tests that call a router
/// directly.
impl Default for ClientAddress {
    fn default() -> Self {
        Self { ip: IpAddr::V6(Ipv6Addr::UNSPECIFIED), is_proxy: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_counts_whole_and_an_ipv6_address_by_its_network() {
        let key = |text: &str| AddressKey::of(text.parse().unwrap());
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }
}
