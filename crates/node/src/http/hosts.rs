//! Allowed host names: protection from DNS rebinding.
//!
//! A page of `evil.example` may rebind that name to 127.0.0.1. The browser then treats the node as the page's own
//! origin, and only the `Host` of its requests differs. With tokens the page gains nothing, since it has no token and
//! the browser's cookies belong to another name. Without tokens, on the loopback, the host name is checked.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::HOST;

use super::problem::{Code, Problem};

/// The host names that a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All names.
    Every,
    /// These names, besides addresses and `localhost`.
    Named(Vec<String>),
    /// Names without a dot, which cannot be registered in DNS, besides addresses and `localhost`.
    Local,
}

impl Hosts {
    /// Returns the names of a listener. `allowed` is `http.allowed_hosts`; `open`: requests need no token.
    pub fn new(allowed: &[String], listen: SocketAddr, open: bool) -> Self {
        match allowed {
            [] if open && listen.ip().to_canonical().is_loopback() => Self::Local,
            [] => Self::Every,
            [every] if every == "*" => Self::Every,
            names => Self::Named(names.to_vec()),
        }
    }

    /// Checks the `Host` of a request, which is that of the request target, and valid if it is present. Browsers
    /// always send it.
    ///
    /// # Errors
    ///
    /// Fails if the name is not allowed.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return Ok(()) };
        let name = name(host);
        let fits = match self {
            Self::Every => true,
            Self::Named(names) => names.iter().any(|one| one.eq_ignore_ascii_case(name)),
            Self::Local => !name.contains('.'),
        };
        if fits || is_this_machine(name) {
            return Ok(());
        }
        Err(Problem::new(Code::Misdirected, "the name in Host is not one of http.allowed_hosts"))
    }
}

/// Returns a host without its port and its trailing dot.
fn name(host: &str) -> &str {
    let name = match host.rfind(':') {
        Some(at) if !host.ends_with(']') => &host[..at],
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Returns whether a name cannot be rebound: an address needs no DNS, and `localhost` is never resolved remotely
/// (RFC 6761).
fn is_this_machine(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    bare.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn answers(hosts: &Hosts, host: &str) -> bool {
        let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        hosts.check(&headers).is_ok()
    }

    #[test]
    fn a_name_that_can_be_registered_is_refused_where_no_token_is_asked_for_on_the_loopback() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let hosts = Hosts::new(&[], listen, true);
        for ip in [Ipv6Addr::LOCALHOST, Ipv4Addr::LOCALHOST.to_ipv6_mapped()] {
            assert_eq!(Hosts::new(&[], SocketAddr::from((ip, 1)), true), hosts);
        }
        for good in [
            "127.0.0.1:8080",
            "127.0.0.1",
            "[::1]:8080",
            "[::1]",
            "localhost:8080",
            "LocalHost",
            "localhost.:8080",
            "app.localhost:8080",
            "node-a:8080",
            "10.0.0.7",
            "",
        ] {
            assert!(answers(&hosts, good), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example:8080",
            "localhost.evil.example",
            "xlocalhost.evil.example",
            "evil.example.",
            "127.0.0.1.nip.io",
        ] {
            assert!(!answers(&hosts, bad), "{bad}");
        }
        assert!(hosts.check(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn elsewhere_every_name_is_answered_unless_some_are_named() {
        let (near, far) = ("127.0.0.1:1".parse().unwrap(), "0.0.0.0:8080".parse().unwrap());
        assert_eq!(Hosts::new(&[], near, false), Hosts::Every);
        assert_eq!(Hosts::new(&[], far, true), Hosts::Every);
        assert_eq!(Hosts::new(&["*".to_owned()], near, true), Hosts::Every);
        let named = Hosts::new(&["sse.example".to_owned()], far, false);
        assert!(
            answers(&named, "SSE.example:443") && answers(&named, "10.0.0.7") && answers(&named, "localhost")
        );
        assert!(!answers(&named, "node-a") && !answers(&named, "x.sse.example"));
    }
}
