//! Networks of proxies: `http.trusted_proxies`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A network of proxies: an address, or a range in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Returns whether the network contains every address.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Returns whether the network contains an address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip)
    }
}

/// A text that is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor a range like 10.0.0.0/8")]
pub struct NotANetwork(String);

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let net = match text.parse::<IpAddr>() {
            Ok(ip) => Some(IpNet::from(ip.to_canonical())),
            Err(_) => text.parse().ok(),
        };
        net.map(|net: IpNet| Self(net.trunc())).ok_or_else(|| NotANetwork(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_or_a_range() {
        let shown = |text: &str| text.parse::<Network>().map(|network| network.to_string());
        assert_eq!(shown("10.0.0.1").unwrap(), "10.0.0.1");
        assert_eq!(shown("10.1.2.3/8").unwrap(), "10.0.0.0/8");
        assert_eq!(shown("fd00::1/64").unwrap(), "fd00::/64");
        assert_eq!(shown("::ffff:10.0.0.1").unwrap(), "10.0.0.1");
        for bad in ["", "10.0.0.0/33", "10.0.0", "balancer", "10.0.0.1:80", "10.0.0.0/8 "] {
            assert!(shown(bad).is_err(), "{bad}");
        }
        assert!("0.0.0.0/0".parse::<Network>().unwrap().is_everything());
        assert!("::/0".parse::<Network>().unwrap().is_everything());
    }
}
