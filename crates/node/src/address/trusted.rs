//! Trusted proxies, and the way from the socket to the client.

use std::net::IpAddr;

use fanfare_config::http::{ForwardedHeader, HttpConfig};
use fanfare_config::network::Network;
use http::HeaderMap;

use super::ClientAddress;
use super::forwarded::{name, peers};

/// Maximum number of proxies of a request. The rest of a longer chain is ignored.
const MAX_HOPS: usize = 32;

/// The proxies between clients and the node, and the header in which they report their peers. Lives as long as the
/// node.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: ForwardedHeader,
}

impl TrustedProxies {
    /// Trusts the proxies of these networks to report their peers in this header.
    pub fn new(networks: Vec<Network>, header: ForwardedHeader) -> Self {
        Self { networks, header }
    }

    /// Trusts the proxies of the settings.
    pub fn of(config: &HttpConfig) -> Self {
        Self::new(config.trusted_proxies.clone(), config.forwarded_header)
    }

    /// Returns whether a proxy with this address is trusted.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(ip))
    }

    /// Returns whether a request has the header, which is ignored since its peer is not trusted.
    pub fn ignores(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        headers.contains_key(name(self.header)) && !self.contains(peer)
    }

    /// Returns the client of a request: follows the header from the socket's peer, from the right, and stops at the
    /// first address that is not a trusted proxy. An untrusted peer is the client, whatever it sends. If a proxy does
    /// not report its peer, the proxy counts as the client.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut ip = peer.to_canonical();
        if self.contains(ip) {
            for named in peers(self.header, headers).take(MAX_HOPS) {
                let Some(named) = named else { break };
                ip = named;
                if !self.contains(ip) {
                    break;
                }
            }
        }
        ClientAddress { ip, is_proxy: self.contains(ip) }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies(header: ForwardedHeader) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "192.168.1.1", "fd00::/8"];
        TrustedProxies::new(networks.iter().map(|text| text.parse().unwrap()).collect(), header)
    }

    /// Returns what the client's address is found to be: `10.0.0.9` is the balancer that the socket comes from.
    fn walk(header: ForwardedHeader, lines: &[&[u8]]) -> (String, bool) {
        let name = if header == ForwardedHeader::Forwarded { "forwarded" } else { "x-forwarded-for" };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line).unwrap());
        }
        let client = proxies(header).client("10.0.0.9".parse().unwrap(), &headers);
        (client.to_string(), client.key().is_some())
    }

    /// Rows of lines and the address found; a `*` before it where only a proxy's is known.
    fn table(header: ForwardedHeader, rows: &[(&[&str], &str)]) {
        for (lines, expected) in rows {
            let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            let (found, is_client) = walk(header, &bytes);
            let found = if is_client { found } else { format!("*{found}") };
            assert_eq!(found, *expected, "{lines:?}");
        }
    }

    #[test]
    fn x_forwarded_for_is_walked_from_the_right_past_trusted_proxies_only() {
        let long = format!("{}203.0.113.7", "10.1.1.1, ".repeat(31));
        let too_long = format!("203.0.113.66, {}", ["10.1.1.1"; 40].join(", "));
        table(
            ForwardedHeader::XForwardedFor,
            &[
                (&[], "*10.0.0.9"),
                (&[""], "*10.0.0.9"),
                (&["203.0.113.7"], "203.0.113.7"),
                (&["203.0.113.7, 10.1.2.3"], "203.0.113.7"),
                (&["203.0.113.7 ,\t192.168.1.1, fd00::5"], "203.0.113.7"),
                // A client may write whatever it likes on the left.
                (&["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
                (&["10.0.0.1, 203.0.113.7"], "203.0.113.7"),
                (&["garbage, 1.1.1.1, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
                (&["\"1.1.1.1, 203.0.113.7"], "203.0.113.7"),
                (&["\u{fc}, 203.0.113.7"], "203.0.113.7"),
                // Several lines are one list.
                (&["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
                (&["203.0.113.7", "10.1.2.3"], "203.0.113.7"),
                (&["1.1.1.1, 203.0.113.7", "10.1.2.3, 10.1.2.4"], "203.0.113.7"),
                (&["203.0.113.7", ""], "203.0.113.7"),
                (&["203.0.113.7, ,"], "203.0.113.7"),
                // Ports, brackets, the forms of an address.
                (&["203.0.113.7:54321"], "203.0.113.7"),
                (&["[2001:db8::7]:54321"], "2001:db8::7"),
                (&["[2001:db8::7]"], "2001:db8::7"),
                (&["2001:DB8:0::7"], "2001:db8::7"),
                (&["::ffff:203.0.113.7"], "203.0.113.7"),
                (&["203.0.113.7, ::ffff:10.1.2.3"], "203.0.113.7"),
                // What cannot be read ends the walk at the proxy that wrote it.
                (&["203.0.113.7, unknown"], "*10.0.0.9"),
                (&["203.0.113.7, _hidden, 10.1.2.3"], "*10.1.2.3"),
                (&["203.0.113.7, 300.1.1.1"], "*10.0.0.9"),
                (&["203.0.113.7:99999"], "*10.0.0.9"),
                (&["203.0.113.7:"], "*10.0.0.9"),
                (&["203.0.113.7:80:80"], "*10.0.0.9"),
                (&["[2001:db8::7"], "*10.0.0.9"),
                (&["[2001:db8::7]80"], "*10.0.0.9"),
                (&["[203.0.113.7]"], "*10.0.0.9"),
                (&["fe80::1%eth0"], "*10.0.0.9"),
                (&["example.com"], "*10.0.0.9"),
                (&["010.0.0.1"], "*10.0.0.9"),
                (&["10.1.1.1"], "*10.1.1.1"),
                // A chain is followed so far and no further.
                (&[&long], "203.0.113.7"),
                (&[&too_long], "*10.1.1.1"),
            ],
        );
        assert_eq!(walk(ForwardedHeader::XForwardedFor, &[b"203.0.113.7, \xff"]).0, "10.0.0.9");
    }

    #[test]
    fn forwarded_is_walked_in_the_same_way_and_quotes_hide_nothing() {
        table(
            ForwardedHeader::Forwarded,
            &[
                (&["for=203.0.113.7"], "203.0.113.7"),
                (&["For=\"203.0.113.7:4711\";proto=https;by=10.0.0.9"], "203.0.113.7"),
                (&["proto=http;for=\"[2001:db8:cafe::17]:4711\""], "2001:db8:cafe::17"),
                (&["for=\"[2001:db8::7]\", for=10.1.2.3"], "2001:db8::7"),
                (&["for=1.1.1.1, for=203.0.113.7;host=\"a,b;for=1.1.1.1\""], "203.0.113.7"),
                (&["for=1.1.1.1", "for=203.0.113.7"], "203.0.113.7"),
                // A quote that the client opens and never closes must not swallow what the proxy adds.
                (&["for=\"1.1.1.1, for=203.0.113.7"], "203.0.113.7"),
                (&["for=\"1.1.1.1;x=\", for=\"[2001:db8::7]\""], "2001:db8::7"),
                (&["for=1.1.1.1, for=203.0.113.7;host=\"a\\\", for=8.8.8.8\""], "203.0.113.7"),
                (&["for=203.0.113.7:_port"], "203.0.113.7"),
                (&["for=\"203.0.113\\.7\""], "203.0.113.7"),
                (&["for=unknown"], "*10.0.0.9"),
                (&["for=203.0.113.7, for=Unknown"], "*10.0.0.9"),
                (&["for=_gazonk"], "*10.0.0.9"),
                (&["for=203.0.113.7, for=_mdn, for=10.1.2.3"], "*10.1.2.3"),
                (&["proto=https"], "*10.0.0.9"),
                (&["for=1.1.1.1;for=203.0.113.7"], "*10.0.0.9"),
                (&["for="], "*10.0.0.9"),
                (&["for=\"203.0.113.7"], "*10.0.0.9"),
                (&["203.0.113.7"], "*10.0.0.9"),
                (&["for"], "*10.0.0.9"),
            ],
        );
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_sends() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("1.1.1.1"));
        headers.insert("forwarded", HeaderValue::from_static("for=1.1.1.1"));
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            for peer in ["203.0.113.7", "192.168.1.2", "2001:db8::1"] {
                let client = proxies(header).client(peer.parse().unwrap(), &headers);
                assert_eq!(client.to_string(), peer);
                assert!(client.key().is_some());
            }
        }
        let mapped =
            proxies(ForwardedHeader::XForwardedFor).client("::ffff:10.0.0.9".parse().unwrap(), &headers);
        assert_eq!(mapped.to_string(), "1.1.1.1");
    }

    #[test]
    fn only_the_header_that_the_proxies_set_is_read() {
        // A proxy that sets one of the two passes the other on as the client sent it.
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.7"));
        headers.insert("forwarded", HeaderValue::from_static("for=203.0.113.8"));
        let client = |header| proxies(header).client("10.0.0.9".parse().unwrap(), &headers).to_string();
        assert_eq!(client(ForwardedHeader::XForwardedFor), "203.0.113.7");
        assert_eq!(client(ForwardedHeader::Forwarded), "203.0.113.8");
    }
}
